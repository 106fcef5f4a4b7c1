// The entry point by which ONNX Runtime finds the operators.
#include "custom_op.h"
#include "operators.h"
#include "version.h"

namespace {

// What the oldest ONNX Runtime can tell the user, if it is too old for the operators.
OrtStatus* too_old(const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(1);  // none is without the first one
  const std::string message = "mbert: this is ONNX Runtime " +
                              std::string(base->GetVersionString()) +
                              ", but the operators of mbert " + mbert::version() + " need 1." +
                              std::to_string(mbert::ort::kApiVersion) + " or newer; upgrade it";
  return api->CreateStatus(ORT_FAIL, message.c_str());
}

void register_ops(OrtSessionOptions* options) {
  // ONNX Runtime keeps pointers to the domain and its operators, for as long as the library is
  // loaded.
  static const Ort::CustomOpDomain domain = [] {
    Ort::CustomOpDomain result("mbert");
    for (const OrtCustomOp* op : mbert::ort::operators()) result.Add(op);
    return result;
  }();
  Ort::ThrowOnError(Ort::GetApi().AddCustomOpDomain(options, domain));
}

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* ORT_API_CALL
RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(mbert::ort::kApiVersion);
  if (api == nullptr) return too_old(base);
  Ort::InitApi(api);
  return mbert::ort::guarded("mbert", [options] { register_ops(options); });
}
