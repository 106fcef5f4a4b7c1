// AMX's tiles (cpu/amx.h) in plain C++, for processors without AMX. Results follow the "Intel 64
// and IA-32 Architectures Software Developer's Manual", volume 2. A fault of the processor aborts
// the process; so does a thread that exits without releasing its tiles.
//
// Everything is in an anonymous namespace on purpose: see cpu/half.h.
#ifndef MBERT_PLUGINS_EMULATION_AMX_TILES_H_
#define MBERT_PLUGINS_EMULATION_AMX_TILES_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cpu/amx.h"
#include "cpu/half.h"

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

// No exception: throwing would add a weak symbol of the C++ runtime to the kernels.
[[gnu::nothrow]] inline void demand(bool met, const char* what) {
  if (met) return;
  std::fprintf(stderr, "emulated tiles: %s\n", what);
  std::abort();
}

struct EmulatedTile {
  std::uint8_t byte[kTileRows][kTileRowBytes];
  int rows;
  int row_bytes;

  template <typename T>
  T get(int row, int column) const {
    return read<T>(&byte[row][column * static_cast<int>(sizeof(T))]);
  }
};

struct TileState {
  bool configured;
  EmulatedTile tile[kTiles];

  ~TileState() { demand(!configured, "a thread ends without releasing them"); }
};

thread_local TileState tile_state;

class Tiles {
 public:
  static void configure(const TileConfig& config) {
    demand(config.palette == 1 && config.start_row == 0, "no such palette");
    for (const std::uint8_t byte : config.reserved) demand(byte == 0, "a reserved byte is set");
    for (int i = 0; i < 16; ++i) {
      const int rows = config.rows[i], bytes = config.row_bytes[i];
      demand(i < kTiles ? rows <= kTileRows && bytes <= kTileRowBytes : rows + bytes == 0,
             "a tile is too large, or there is no such tile");
      demand((rows == 0) == (bytes == 0), "a tile has rows or bytes, but not both");
      if (i < kTiles) tile_state.tile[i] = {{}, rows, bytes};
    }
    tile_state.configured = true;
  }

  static void release() { tile_state.configured = false; }

  template <int kTile>
  static void zero() {
    EmulatedTile& to = used(kTile);
    std::memset(to.byte, 0, sizeof(to.byte));
  }

  template <int kTile>
  static void load(const void* from, std::int64_t stride) {
    zero<kTile>();
    EmulatedTile& to = used(kTile);
    for (int m = 0; m < to.rows; ++m) {
      std::memcpy(to.byte[m], static_cast<const char*>(from) + m * stride, bytes_of(to));
    }
  }

  template <int kTile>
  static void store(void* to, std::int64_t stride) {
    const EmulatedTile& from = used(kTile);
    for (int m = 0; m < from.rows; ++m) {
      std::memcpy(static_cast<char*>(to) + m * stride, from.byte[m], bytes_of(from));
    }
  }

  template <int kSum, int kA, int kB>
  static void add_signed_times_unsigned() {
    add<kSum, kA, kB, std::int32_t>([](const EmulatedTile& a, const EmulatedTile& b, int m, int n) {
      std::int32_t total = 0;
      for (int k = 0; k < b.rows; ++k) {
        for (int i = 0; i < 4; ++i) {
          total += a.get<std::int8_t>(m, 4 * k + i) * b.get<std::uint8_t>(k, 4 * n + i);
        }
      }
      return total;
    });
  }

  // The first and the second elements of the pairs have separate sums, of fused multiply-adds.
  template <int kSum, int kA, int kB>
  static void add_bfloat16() {
    add<kSum, kA, kB, float>([](const EmulatedTile& a, const EmulatedTile& b, int m, int n) {
      float total[2] = {};
      for (int k = 0; k < b.rows; ++k) {
        for (int i = 0; i < 2; ++i) {
          total[i] =
              flushed(__builtin_fmaf(widened(a, m, 2 * k + i), widened(b, k, 2 * n + i), total[i]));
        }
      }
      return flushed(total[0] + total[1]);
    });
  }

 private:
  static EmulatedTile& used(int tile) {
    demand(tile_state.configured && tile_state.tile[tile].rows != 0, "a tile has no shape");
    return tile_state.tile[tile];
  }

  static std::size_t bytes_of(const EmulatedTile& tile) {
    return static_cast<std::size_t>(tile.row_bytes);
  }

  // Adds product(a, b, m, n) to every element.
  template <int kSum, int kA, int kB, typename Sum, typename Product>
  static void add(Product product) {
    static_assert(kSum != kA && kSum != kB && kA != kB);
    EmulatedTile& sum = used(kSum);
    const EmulatedTile &a = used(kA), &b = used(kB);
    demand(a.row_bytes % 4 == 0 && b.row_bytes % 4 == 0, "a row is no multiple of 4 bytes");
    demand(sum.rows == a.rows && sum.row_bytes == b.row_bytes && a.row_bytes / 4 == b.rows,
           "shapes do not fit");
    for (int m = 0; m < sum.rows; ++m) {
      for (int n = 0; n < sum.row_bytes / 4; ++n) {
        const Sum value = flushed(sum.get<Sum>(m, n) + product(a, b, m, n));
        std::memcpy(&sum.byte[m][4 * n], &value, sizeof(value));
      }
    }
  }

  static float widened(const EmulatedTile& tile, int row, int column) {
    return flushed(bit_cast<float>(std::uint32_t{tile.get<std::uint16_t>(row, column)} << 16));
  }

  // Subnormal operands and results are flushed to zero.
  static float flushed(float value) {
    return __builtin_fabsf(value) < 0x1p-126f ? __builtin_copysignf(0.0f, value) : value;
  }
  static std::int32_t flushed(std::int32_t value) { return value; }
};

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_EMULATION_AMX_TILES_H_
