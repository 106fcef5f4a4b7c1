// The specialisation that test_mutants.py compiles with deliberate mistakes.
#include "emulated_attention.h"

extern "C" __attribute__((visibility("default"))) void mbert_emulated_attention(
    const mbert::cuda::AttentionCall* call, char* error, std::int64_t error_size) {
  using namespace mbert::cuda;
  guarded(error, error_size,
          [&] { validated(*call, emulate_attention<VarlenAttentionTiling<Float16, 64, 80>>); });
}
