// Runs one windowed attention of the given number of tokens; test_linear_time.py counts its
// instructions.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "varlen_attention.h"

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s TOKENS\n", argv[0]), 2;
  const std::int64_t tokens = std::atoll(argv[1]);
  constexpr std::int64_t kHeads = 2;
  constexpr std::int64_t kHeadDim = 64;
  const auto size = static_cast<std::size_t>(tokens * kHeads * kHeadDim);
  const std::vector<float> qkv(3 * size, 0.5f);
  const std::vector<float> rope(static_cast<std::size_t>(tokens * kHeadDim), 0.5f);
  const std::int32_t cu_seqlens[] = {0, static_cast<std::int32_t>(tokens)};
  std::vector<float> context(size);

  mbert::cpu::VarlenAttentionParams params;
  params.qkv = qkv.data();
  params.tokens = tokens;
  params.cu_seqlens = cu_seqlens;
  params.sequences = 1;
  params.rope = rope.data();
  params.max_position = tokens;
  params.num_heads = kHeads;
  params.head_dim = kHeadDim;
  params.window = 64;
  params.scale = 0.125f;
  params.context = context.data();

  mbert::cpu::Isa isa;
  std::string problem = mbert::cpu::choose_isa(&isa);
  if (problem.empty()) problem = mbert::cpu::validate(params);
  if (!problem.empty()) return std::fprintf(stderr, "%s\n", problem.c_str()), 1;
  mbert::cpu::run(params, isa,
                  [](std::int64_t count, const std::function<void(std::int64_t)>& task) {
                    for (std::int64_t i = 0; i < count; ++i) task(i);
                  });
  return 0;
}
