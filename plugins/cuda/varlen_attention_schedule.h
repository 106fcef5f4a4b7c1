// The kernels of one call of packed attention, their order and launch shapes. Needs no CUDA: a GPU
// and its emulation use the same code.
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_SCHEDULE_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_SCHEDULE_H_

#include <type_traits>

#include "arch/types.h"
#include "varlen_attention_params.h"
#include "varlen_attention_tiling.h"

namespace mbert::cuda {

// Returns visit(element, machine) for a type and compute capability that validate_device() accepts.
// element: a value of the type in memory; machine: an integral_constant, 75 for 7.x, 80 for newer.
template <class Visit>
auto with_machine(ElementType type, int compute_capability, const Visit& visit) {
  const std::integral_constant<int, 75> turing;
  const std::integral_constant<int, 80> ampere;
  const bool is_turing = compute_capability < 80;
  switch (type) {
    case ElementType::kFloat32:
      return is_turing ? visit(float(), turing) : visit(float(), ampere);
    case ElementType::kFloat16:
      return is_turing ? visit(Float16(), turing) : visit(Float16(), ampere);
    default:
      return visit(BFloat16(), ampere);
  }
}

// Returns visit(tiling) for a head_dim that validate_shapes() accepts.
template <class T, int kMachine, class Visit>
auto with_tiling(std::int64_t head_dim, const Visit& visit) {
  if (head_dim == 32) return visit(VarlenAttentionTiling<T, 32, kMachine>());
  if (head_dim == 64) return visit(VarlenAttentionTiling<T, 64, kMachine>());
  return visit(VarlenAttentionTiling<T, 128, kMachine>());
}

// Launches the kernels of one call. launcher.rotate_keys<Tiling>(shape, arguments) and
// launcher.attend<Tiling, kRotation>(shape, arguments) run the functions of
// varlen_attention_kernel.h, one after the other. params must be valid.
template <class Tiling, class Launcher>
void schedule(const VarlenAttentionParams& params, Launcher& launcher) {
  const auto arguments = make_arguments<typename Tiling::Element>(params);
  const int grid_x = Tiling::grid_x(arguments.tokens, arguments.sequences);
  const LaunchShape rotation = {grid_x, arguments.num_heads, Tiling::kThreads, 0};
  const LaunchShape attention = {grid_x, arguments.num_heads, Tiling::kThreads,
                                 Tiling::kSharedBytes};
  if (params.rotation == KeyRotation::kFused) {
    launcher.template attend<Tiling, KeyRotation::kFused>(attention, arguments);
  } else {
    launcher.template rotate_keys<Tiling>(rotation, arguments);
    launcher.template attend<Tiling, KeyRotation::kWorkspace>(attention, arguments);
  }
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_SCHEDULE_H_
