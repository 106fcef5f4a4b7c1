// The multiplication step of the linear operators on AMX. A panel has the memory layout of a tile's
// second operand: a row holds four bytes of inputs for each of 16 columns.
//
// A Dot here has the members of linear_kernel.h's that are not about vectors, and
//   multiply_add<sums, inputs, weights>()   of tiles
// The order of floating-point sums depends on the number of inputs alone, so that the bits of a
// result depend on its own row alone.
//
// Everything is in an anonymous namespace on purpose: see half.h.
#ifndef MBERT_PLUGINS_CPU_LINEAR_AMX_H_
#define MBERT_PLUGINS_CPU_LINEAR_AMX_H_

#include <cstdint>

#include "amx.h"
#include "linear_kernel.h"

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

// Bytes: tdpbsud.
struct IntegerTileDot {
  static constexpr WeightType kType = WeightType::kInt8;
  using Weight = std::uint8_t;
  using Input = std::int8_t;
  using Sum = std::int32_t;
  static constexpr std::int32_t kZero = kWeightZero;

  template <int kSums, int kInputs, int kWeights>
  [[gnu::always_inline]] static void multiply_add() {
    Tiles::add_signed_times_unsigned<kSums, kInputs, kWeights>();
  }
};

// bfloat16: tdpbf16ps.
template <int kLanes>
struct BFloat16TileDot {
  static constexpr WeightType kType = WeightType::kBFloat16;
  using Weight = BFloat16;
  using Input = BFloat16;
  using Sum = float;

  [[gnu::always_inline]] static void round(typename Simd<kLanes>::Float x, Input* to) {
    Simd<kLanes>::store(to, x);
  }
  template <int kSums, int kInputs, int kWeights>
  [[gnu::always_inline]] static void multiply_add() {
    Tiles::add_bfloat16<kSums, kInputs, kWeights>();
  }
};

template <typename Dot, int kLanes>
class TileMultiplier {
  using Pair = PanelPair<Dot, kLanes>;
  using Sum = typename Dot::Sum;

  // Tile numbers: two tiles of rows times a pair of panels; the sum of rows i and panel j is in
  // tile kSums + 2 * i + j.
  static constexpr int kSums = 0, kRows = 4, kPanels = 6;
  static constexpr std::int64_t kBlockRows = 2 * kTileRows;
  static constexpr std::int64_t kSumBytes = kPanelColumns * sizeof(Sum);
  static_assert(kSumBytes == kTileRowBytes);
  static_assert(sizeof(typename Dot::Input) == sizeof(typename Dot::Weight));
  static_assert(panel_inputs(Dot::kType) * sizeof(typename Dot::Weight) == 4);

 public:
  static void run(const MultiplyTask& task) {
    const std::int64_t row_bytes =
        task.inputs * static_cast<std::int64_t>(sizeof(typename Dot::Weight));
    const std::int64_t step = step_of(row_bytes);
    for (std::int64_t row = 0; row < task.rows; row += kBlockRows) {
      const std::int64_t left = task.rows - row;
      const int rows = static_cast<int>(left < kBlockRows ? left : kBlockRows);
      const char* a = static_cast<const char*>(task.prepared) + row * row_bytes;
      configure(rows, step);
      for (std::int64_t i = 0; i < task.pairs; ++i) {
        const Pair pair(task, task.first_pair + i);
        alignas(64) Sum sums[kBlockRows * kPairColumns];
        if (rows > kTileRows) {
          multiply<2>(a, pair.panels, row_bytes, step, sums);
        } else {
          multiply<1>(a, pair.panels, row_bytes, step, sums);
        }
        pair.finish(task, row, rows, sums);
      }
    }
    Tiles::release();  // spares context switches the saving of tiles
  }

 private:
  // The bytes of a row in one step: the row length of a tile, halved until it divides the row.
  static std::int64_t step_of(std::int64_t row_bytes) {
    std::int64_t step = kTileRowBytes;
    while (row_bytes % step != 0) step /= 2;
    return step;
  }

  static void configure(int rows, std::int64_t step) {
    TileConfig config;
    for (int half = 0; half < 2; ++half) {
      const int upper = rows < kTileRows ? rows : kTileRows;
      const int tile_rows = half == 0 ? upper : rows - upper;
      config.shape(kRows + half, tile_rows, step);
      config.shape(kSums + 2 * half, tile_rows, kSumBytes);
      config.shape(kSums + 2 * half + 1, tile_rows, kSumBytes);
      config.shape(kPanels + half, step / 4, kTileRowBytes);
    }
    Tiles::configure(config);
  }

  // Computes sums[row][column of the pair] for the rows of kHalves tiles.
  template <int kHalves>
  [[gnu::always_inline]] static void multiply(const char* a,
                                              const typename Dot::Weight* const* panels,
                                              std::int64_t row_bytes, std::int64_t step,
                                              Sum* sums) {
    const char* const first = reinterpret_cast<const char*>(panels[0]);
    const char* const second = reinterpret_cast<const char*>(panels[1]);
    Tiles::zero<kSums>();
    Tiles::zero<kSums + 1>();
    if constexpr (kHalves == 2) {
      Tiles::zero<kSums + 2>();
      Tiles::zero<kSums + 3>();
    }
    for (std::int64_t k = 0; k < row_bytes; k += step) {
      Tiles::load<kPanels>(first + k * kPanelColumns, kTileRowBytes);
      Tiles::load<kPanels + 1>(second + k * kPanelColumns, kTileRowBytes);
      Tiles::load<kRows>(a + k, row_bytes);
      Dot::template multiply_add<kSums, kRows, kPanels>();
      Dot::template multiply_add<kSums + 1, kRows, kPanels + 1>();
      if constexpr (kHalves == 2) {
        Tiles::load<kRows + 1>(a + kTileRows * row_bytes + k, row_bytes);
        Dot::template multiply_add<kSums + 2, kRows + 1, kPanels>();
        Dot::template multiply_add<kSums + 3, kRows + 1, kPanels + 1>();
      }
    }
    Tiles::store<kSums>(sums, 2 * kSumBytes);
    Tiles::store<kSums + 1>(sums + kPanelColumns, 2 * kSumBytes);
    if constexpr (kHalves == 2) {
      Sum* const lower = sums + kTileRows * kPairColumns;
      Tiles::store<kSums + 2>(lower, 2 * kSumBytes);
      Tiles::store<kSums + 3>(lower + kPanelColumns, 2 * kSumBytes);
    }
  }
};

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_LINEAR_AMX_H_
