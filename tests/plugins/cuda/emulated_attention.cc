// Every specialisation of the packed attention.
#include "emulated_attention.h"

namespace mbert::cuda {
namespace {

template <class T, int kCapability>
void run_any_size(const AttentionCall& call, const VarlenAttentionParams& params) {
  with_tiling<T, kCapability>(
      params.head_dim, [&](auto tiling) { emulate_attention<decltype(tiling)>(call, params); });
}

void run(const AttentionCall& call, const VarlenAttentionParams& params) {
  const bool is_turing = call.capability < 80;
  switch (params.type) {
    case ElementType::kFloat32:
      return is_turing ? run_any_size<float, 75>(call, params)
                       : run_any_size<float, 80>(call, params);
    case ElementType::kFloat16:
      return is_turing ? run_any_size<Float16, 75>(call, params)
                       : run_any_size<Float16, 80>(call, params);
    case ElementType::kBFloat16:
      return run_any_size<BFloat16, 80>(call, params);
  }
}

}  // namespace
}  // namespace mbert::cuda

// Error[error_size] becomes the message of what went wrong, or an empty text.
extern "C" __attribute__((visibility("default"))) void mbert_emulated_attention(
    const mbert::cuda::AttentionCall* call, char* error, std::int64_t error_size) {
  using namespace mbert::cuda;
  guarded(error, error_size, [&] { validated(*call, run); });
}
