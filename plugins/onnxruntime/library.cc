// The entry point by which ONNX Runtime finds the operators.
#include "custom_op.h"

namespace {

// What the oldest ONNX Runtime can tell the user, if it is older than the headers of this build.
OrtStatus* too_old(const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(1);
  if (api == nullptr) return nullptr;
  const std::string message =
      "mbert: this is ONNX Runtime " + std::string(base->GetVersionString()) +
      ", but the mbert operators were built for 1." + std::to_string(ORT_API_VERSION) +
      " or newer; upgrade it, or build mbert on its headers";
  return api->CreateStatus(ORT_FAIL, message.c_str());
}

void register_ops(OrtSessionOptions* options) {
  // ONNX Runtime keeps pointers to the domain and its operators, for as long as the library is
  // loaded.
  static const Ort::CustomOpDomain domain = [] {
    Ort::CustomOpDomain result("mbert");
    for (const OrtCustomOp* op : mbert::ort::varlen_attention_ops()) result.Add(op);
    for (const OrtCustomOp* op : mbert::ort::varlen_pooling_ops()) result.Add(op);
    return result;
  }();
  Ort::ThrowOnError(Ort::GetApi().AddCustomOpDomain(options, domain));
}

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* ORT_API_CALL
RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(ORT_API_VERSION);
  if (api == nullptr) return too_old(base);
  Ort::InitApi(api);
  return mbert::ort::guarded("mbert", [options] { register_ops(options); });
}
