// AMX: eight tile registers of up to 16 rows of 64 bytes, and products of two tiles that are added
// to a third.
//
// Each function is one instruction. They are inline assembly, because GCC's intrinsics take tile
// numbers as literals only and do not tell the compiler that they read memory. With
// MBERT_EMULATED_TILES the tiles are emulated instead.
//
// Everything is in an anonymous namespace on purpose: see half.h.
#ifndef MBERT_PLUGINS_CPU_AMX_H_
#define MBERT_PLUGINS_CPU_AMX_H_

#include <cstdint>

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

constexpr int kTiles = 8;
constexpr int kTileRows = 16;
constexpr int kTileRowBytes = 64;

// The shapes of all tiles, in the memory layout of ldtilecfg. An unused tile has 0 rows of 0 bytes.
struct TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  void shape(int tile, std::int64_t tile_rows, std::int64_t bytes) {
    if (tile_rows == 0) return;
    rows[tile] = static_cast<std::uint8_t>(tile_rows);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};
static_assert(sizeof(TileConfig) == 64);

}  // namespace
}  // namespace mbert::cpu

#if defined(MBERT_EMULATED_TILES)
#include "emulation/amx_tiles.h"
#else

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

struct Tiles {
  // Reserves the tiles for this thread until release(), and clears them.
  [[gnu::always_inline]] static void configure(const TileConfig& config) {
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }
  [[gnu::always_inline]] static void release() { __asm__ volatile("tilerelease"); }

  template <int kTile>
  [[gnu::always_inline]] static void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  // Rows are `stride` bytes apart in memory.
  template <int kTile>
  [[gnu::always_inline]] static void load(const void* from, std::int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1), %%tmm%c2"
                     :
                     : "r"(from), "r"(stride), "i"(kTile)
                     : "memory");
  }
  template <int kTile>
  [[gnu::always_inline]] static void store(void* to, std::int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1)"
                     :
                     : "r"(to), "r"(stride), "i"(kTile)
                     : "memory");
  }

  // kSum[m][n] += sum over k and i of kA[m][4k + i] * kB[k][4n + i]: int8 times uint8, in int32.
  template <int kSum, int kA, int kB>
  [[gnu::always_inline]] static void add_signed_times_unsigned() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
  // kSum[m][n] += sum over k and i of kA[m][2k + i] * kB[k][2n + i]: bfloat16, in float32.
  template <int kSum, int kA, int kB>
  [[gnu::always_inline]] static void add_bfloat16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace mbert::cpu

#endif
#endif  // MBERT_PLUGINS_CPU_AMX_H_
