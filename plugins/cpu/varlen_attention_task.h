// The interface between varlen_attention.cc and the kernels of one instruction set. Plain data
// only: the kernels are compiled with other flags, and must not instantiate shared code.
#ifndef MBERT_PLUGINS_CPU_VARLEN_ATTENTION_TASK_H_
#define MBERT_PLUGINS_CPU_VARLEN_ATTENTION_TASK_H_

#include <cstdint>

namespace mbert::cpu {

// One block of queries of one head of one sequence.
struct VarlenAttentionTask {
  // This head's columns of the sequence's first row; rows are row_stride elements apart.
  const void* q;
  const void* k;
  const void* v;
  std::int64_t row_stride;
  void* out;
  std::int64_t out_stride;
  const float* rope;
  std::int64_t head_dim;
  std::int64_t length;       // of the sequence
  std::int64_t first_query;  // a multiple of query_block(head_dim)
  std::int64_t window;
  float scale;     // times log2(e)
  float* scratch;  // kScratchFloats floats, aligned to 64 bytes
};

constexpr std::int64_t kMaxHeadDim = 256;

// The queries of a task. Each task rotates and converts its keys and values, so larger blocks are
// better while they fit in a core's private cache. It must not depend on the batch.
[[gnu::always_inline]] constexpr std::int64_t query_block(std::int64_t head_dim) {
  return head_dim <= 128 ? 192 : 96;
}
constexpr std::int64_t kMaxQueryBlock = 192;
// The maximum of query_block(d) * d.
constexpr std::int64_t kMaxQueryFloats = 192 * 128;

// The keys (and values) that are converted at a time.
constexpr std::int64_t kKeyTile = 64;
// Padding of the rows of the value tile, which is read by columns: rows a power of two apart would
// share a few cache sets.
constexpr std::int64_t kValuePad = 16;
// The maximum number of queries whose scores are computed together.
constexpr std::int64_t kMaxGroup = 32;

constexpr std::int64_t kScratchFloats =
    2 * kMaxQueryFloats                       // queries, results
    + kKeyTile * kMaxHeadDim                  // keys
    + kKeyTile * (kMaxHeadDim + kValuePad)    // values
    + kKeyTile * kMaxGroup                    // scores
    + 2 * kMaxQueryBlock                      // maxima, sums
    + kMaxGroup * (kMaxHeadDim + kValuePad);  // rows to be transposed

struct VarlenAttentionKernels {
  void (*float32)(const VarlenAttentionTask& task);
  void (*float16)(const VarlenAttentionTask& task);
  void (*bfloat16)(const VarlenAttentionTask& task);
};

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_VARLEN_ATTENTION_TASK_H_
