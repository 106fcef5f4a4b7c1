// What the driver of the packed attention hands to the kernel of one instruction set. Plain data
// only: kernels are compiled with flags under which nothing shared may be instantiated.
#ifndef MBERT_PLUGINS_CPU_VARLEN_ATTENTION_TASK_H_
#define MBERT_PLUGINS_CPU_VARLEN_ATTENTION_TASK_H_

#include <cstdint>

namespace mbert::cpu {

// One block of queries of one head of one sequence.
struct VarlenAttentionTask {
  // The sequence's first row, at this head's columns; rows are row_stride elements apart.
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

// A task's queries. Keys and values are rotated and converted once per task, so more is better, as
// long as the block stays in a core's own cache. It must depend on nothing that differs between
// batches.
[[gnu::always_inline]] constexpr std::int64_t query_block(std::int64_t head_dim) {
  return head_dim <= 128 ? 192 : 96;
}
constexpr std::int64_t kMaxQueryBlock = 192;
// query_block(d) * d, at most.
constexpr std::int64_t kMaxQueryFloats = 192 * 128;

// Keys (and values) held converted at a time.
constexpr std::int64_t kKeyTile = 64;
// Added to the row length of the value tile, whose columns are read: rows a power of two apart
// would share a few cache sets.
constexpr std::int64_t kValuePad = 16;
// The queries whose scores are computed together, at most.
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
