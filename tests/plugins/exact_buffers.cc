// Runs every kernel of one instruction set on buffers of exactly the size of their data, with
// outputs undefined: test_memcheck.py runs it under valgrind. Results are compared with plain
// loops, so that every value read is used.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "half.h"
#include "linear.h"
#include "pooling.h"
#include "varlen_attention.h"

namespace {

using namespace mbert::cpu;

int failures = 0;

void in_order(std::int64_t count, const std::function<void(std::int64_t)>& task) {
  for (std::int64_t i = 0; i < count; ++i) task(i);
}

// Returns small, different values of both signs.
float value_at(std::size_t i) { return static_cast<float>((i * 37 + 11) % 64) / 32.0f - 1.0f; }

std::vector<float> values(std::int64_t count) {
  std::vector<float> result(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = value_at(i);
  return result;
}

// Returns memory that valgrind treats as undefined until it is written.
template <typename T>
std::unique_ptr<T[]> undefined(std::int64_t count) {
  return std::unique_ptr<T[]>(new T[static_cast<std::size_t>(count)]);
}

void expect_near(const char* what, float found, double expected, double tolerance) {
  if (std::abs(static_cast<double>(found) - expected) <= tolerance) return;
  std::fprintf(stderr, "%s: found %g, expected %g\n", what, static_cast<double>(found), expected);
  ++failures;
}

void require(const std::string& problem) {
  if (problem.empty()) return;
  std::fprintf(stderr, "%s\n", problem.c_str());
  std::exit(1);
}

// The values are multiples of 1/32 below 1: exact in bfloat16, nearly exact in 8 bits.
void linear(WeightType type, std::int64_t tokens, Isa isa) {
  constexpr std::int64_t kInputs = 48, kOutputs = 48;
  const std::vector<float> x = values(tokens * kInputs);
  const std::vector<float> bias = values(kOutputs);
  const std::vector<float> scale(kOutputs, 1.0f / 64.0f);
  const std::int64_t together = panel_inputs(type);
  const std::int64_t bytes = type == WeightType::kFloat32    ? 4
                             : type == WeightType::kBFloat16 ? 2
                                                             : 1;
  std::vector<char> panels(static_cast<std::size_t>(kInputs * kOutputs * bytes));
  const auto weight = [&](std::int64_t n, std::int64_t k) {
    return value_at(static_cast<std::size_t>(n * kInputs + k));
  };
  for (std::int64_t n = 0; n < kOutputs; ++n) {
    for (std::int64_t k = 0; k < kInputs; ++k) {
      const std::int64_t step =
          (n / kPanelColumns * kInputs + k / together * together) * kPanelColumns;
      char* to = panels.data() + (step + n % kPanelColumns * together + k % together) * bytes;
      const float w = weight(n, k);
      if (type == WeightType::kFloat32) std::memcpy(to, &w, sizeof(w));
      if (type == WeightType::kBFloat16) {
        const auto bits = static_cast<std::uint16_t>(bit_cast<std::uint32_t>(w) >> 16);
        std::memcpy(to, &bits, sizeof(bits));
      }
      if (type == WeightType::kInt8) *to = static_cast<char>(static_cast<int>(w * 64.0f) + 128);
    }
  }
  const auto out = undefined<float>(tokens * kOutputs);

  LinearParams params;
  params.x = x.data();
  params.tokens = tokens;
  params.inputs = kInputs;
  params.weight_type = type;
  params.weight = panels.data();
  params.outputs = kOutputs;
  params.weight_scale = type == WeightType::kInt8 ? scale.data() : nullptr;
  params.bias = bias.data();
  params.out = out.get();
  require(validate(params));
  const auto bytes_of_scratch = static_cast<std::int64_t>(scratch_bytes(params, isa));
  const auto memory = undefined<char>(bytes_of_scratch + 64);
  void* scratch = memory.get();
  auto space = static_cast<std::size_t>(bytes_of_scratch + 64);
  std::align(64, static_cast<std::size_t>(bytes_of_scratch), scratch, space);
  run(params, isa, scratch, in_order);

  const double tolerance = type == WeightType::kInt8 ? 0.3 : 1e-4;
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t n = 0; n < kOutputs; ++n) {
      double sum = bias[static_cast<std::size_t>(n)];
      for (std::int64_t k = 0; k < kInputs; ++k) {
        sum += static_cast<double>(x[static_cast<std::size_t>(t * kInputs + k)]) * weight(n, k);
      }
      expect_near("linear", out[static_cast<std::size_t>(t * kOutputs + n)], sum, tolerance);
    }
  }
}

// All values are equal, and so are their averages.
void attention(std::int64_t window, std::int64_t head_dim, Isa isa) {
  constexpr std::int64_t kHeads = 2;
  const std::int32_t cu_seqlens[] = {0, 1, 18, 18, 91};
  constexpr std::int64_t kTokens = 93;  // two belong to no sequence
  const std::int64_t channels = kHeads * head_dim;
  std::vector<float> qkv = values(3 * kTokens * channels);
  for (std::int64_t t = 0; t < kTokens; ++t) {
    const auto first = qkv.begin() + (3 * t + 2) * channels;
    std::fill(first, first + channels, 0.75f);
  }
  const std::vector<float> rope = values(73 * head_dim);
  const auto context = undefined<float>(kTokens * channels);

  VarlenAttentionParams params;
  params.qkv = qkv.data();
  params.tokens = kTokens;
  params.cu_seqlens = cu_seqlens;
  params.sequences = 4;
  params.rope = rope.data();
  params.max_position = 73;
  params.num_heads = kHeads;
  params.head_dim = head_dim;
  params.window = window;
  params.scale = 0.125f;
  params.context = context.get();
  require(validate(params));
  run(params, isa, in_order);
  for (std::int64_t i = 0; i < kTokens * channels; ++i) {
    const double expected = i < cu_seqlens[4] * channels ? 0.75 : 0.0;
    expect_near("attention", context[static_cast<std::size_t>(i)], expected, 1e-5);
  }
}

// All values are equal, as above.
void pooling(PoolingMode mode) {
  constexpr std::int64_t kColumns = 37;
  const std::int32_t cu_seqlens[] = {0, 1, 10, 10};
  const std::vector<float> hidden(12 * kColumns, 0.75f);
  const auto pooled = undefined<float>(3 * kColumns);

  VarlenPoolingParams params;
  params.hidden = hidden.data();
  params.tokens = 12;
  params.columns = kColumns;
  params.cu_seqlens = cu_seqlens;
  params.sequences = 3;
  params.mode = mode;
  params.pooled = pooled.get();
  require(validate(params));
  run(params, in_order);
  for (std::int64_t i = 0; i < 3 * kColumns; ++i) {
    const std::int64_t sequence = i / kColumns;
    const double of_nine = mode == PoolingMode::kMeanSqrtLen ? 3 * 0.75 : 0.75;
    const double expected = sequence == 0 ? 0.75 : sequence == 1 ? of_nine : 0.0;
    expect_near("pooling", pooled[static_cast<std::size_t>(i)], expected, 1e-5);
  }
}

}  // namespace

int main() {
  Isa isa;
  require(choose_isa(&isa));
  for (const WeightType type : {WeightType::kFloat32, WeightType::kBFloat16, WeightType::kInt8}) {
    for (const std::int64_t tokens : {1, 7, 19}) linear(type, tokens, isa);
  }
  for (const std::int64_t window : {-1, 0, 5, 64}) {
    for (const std::int64_t head_dim : {16, 64}) attention(window, head_dim, isa);
  }
  for (const PoolingMode mode :
       {PoolingMode::kCls, PoolingMode::kMean, PoolingMode::kMax, PoolingMode::kMeanSqrtLen,
        PoolingMode::kLastToken, PoolingMode::kWeightedMean}) {
    pooling(mode);
  }
  return failures == 0 ? 0 : 1;
}
