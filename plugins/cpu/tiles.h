// The processor's tiles (AMX): eight registers of up to 16 rows of 64 bytes, and the products of
// two of them that are added to a third one.
//
// In MBERT_EMULATE_AMX's builds they are emulated. Otherwise a function is an instruction; not the
// compiler's intrinsics, because GCC's take the numbers of tiles as literals only, and do not say
// that they read memory.
//
// Everything is in an anonymous namespace on purpose: see storage.h.
#ifndef MBERT_PLUGINS_CPU_TILES_H_
#define MBERT_PLUGINS_CPU_TILES_H_

#include <cstdint>

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

constexpr int kTiles = 8;
constexpr int kTileRows = 16;
constexpr int kTileRowBytes = 64;

// The tiles' shapes, as ldtilecfg reads them from memory. A tile that is not used has no rows of no
// bytes.
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

#if defined(MBERT_EMULATE_AMX)
#include "emulated_tiles.h"
#else

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

struct Tiles {
  // The tiles belong to the thread from here to release(), and are zeros.
  [[gnu::always_inline]] static void configure(const TileConfig& config) {
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }
  [[gnu::always_inline]] static void release() { __asm__ volatile("tilerelease"); }

  template <int kTile>
  [[gnu::always_inline]] static void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  // Rows lie `stride` bytes apart.
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

  // kSum[m][n] += the sum of kA[m][4k + i] * kB[k][4n + i]: bytes with a sign times bytes without,
  // in int32.
  template <int kSum, int kA, int kB>
  [[gnu::always_inline]] static void add_signed_times_unsigned() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
  // kSum[m][n] += the sum of kA[m][2k + i] * kB[k][2n + i]: bfloat16, in float32.
  template <int kSum, int kA, int kB>
  [[gnu::always_inline]] static void add_bfloat16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace mbert::cpu

#endif
#endif  // MBERT_PLUGINS_CPU_TILES_H_
