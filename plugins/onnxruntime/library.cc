// The functions that the library exports: ONNX Runtime's entry point, and a query.
#include <string>

#include "custom_op.h"
#include "isa.h"
#include "operators.h"
#include "version.h"

namespace {

// Returns an error for an ONNX Runtime that is too old, through the oldest API, which all have.
OrtStatus* too_old(const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(1);
  const std::string message = "mbert: this is ONNX Runtime " +
                              std::string(base->GetVersionString()) +
                              ", but the operators of mbert " + mbert::version() + " need 1." +
                              std::to_string(mbert::ort::kApiVersion) + " or newer; upgrade it";
  return api->CreateStatus(ORT_FAIL, message.c_str());
}

void register_ops(OrtSessionOptions* options) {
  // ONNX Runtime keeps pointers to the domain and its operators while the library is loaded.
  static const Ort::CustomOpDomain domain = [] {
    Ort::CustomOpDomain result("mbert");
    for (const OrtCustomOp* op : mbert::ort::operators()) result.Add(op);
    return result;
  }();
  Ort::ThrowOnError(Ort::GetApi().AddCustomOpDomain(options, domain));
}

}  // namespace

#define MBERT_EXPORT extern "C" __attribute__((visibility("default")))

MBERT_EXPORT OrtStatus* ORT_API_CALL RegisterCustomOps(OrtSessionOptions* options,
                                                       const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(mbert::ort::kApiVersion);
  if (api == nullptr) return too_old(base);
  Ort::InitApi(api);
  return mbert::ort::guarded("mbert", [options] { register_ops(options); });
}

// Returns the names of the instruction sets that this processor can run, from slow to fast, with
// spaces between them. The string lives as long as the library is loaded.
MBERT_EXPORT const char* mbert_supported_isas() {
  static const std::string names = [] {
    std::string joined;
    for (const mbert::cpu::Isa isa : mbert::cpu::supported_isas()) {
      joined += (joined.empty() ? "" : " ") + std::string(mbert::cpu::isa_name(isa));
    }
    return joined;
  }();
  return names.c_str();
}
