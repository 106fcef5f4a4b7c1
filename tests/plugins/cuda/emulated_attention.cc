// Every specialisation of the packed attention.
#include "emulated_attention.h"

namespace mbert::cuda {
namespace {

void run(const AttentionCall& call, const VarlenAttentionParams& params) {
  with_machine(params.type, call.capability, [&](auto element, auto machine) {
    with_tiling<decltype(element), machine()>(
        params.head_dim, [&](auto tiling) { emulate_attention<decltype(tiling)>(call, params); });
  });
}

}  // namespace
}  // namespace mbert::cuda

// Writes the error message, or an empty string, into error[error_size].
extern "C" __attribute__((visibility("default"))) void mbert_emulated_attention(
    const mbert::cuda::AttentionCall* call, char* error, std::int64_t error_size) {
  using namespace mbert::cuda;
  guarded(error, error_size, [&] { validated(*call, run); });
}
