// Conversion of float16 and bfloat16 (in memory) to and from float32 (in registers). It uses
// integer arithmetic only: it needs no support by compiler or processor, and works on scalars and
// vectors.
//
// Everything is in an anonymous namespace on purpose: this header is compiled for several
// instruction sets, and the linker must not merge the copies.
#ifndef MBERT_PLUGINS_CPU_HALF_H_
#define MBERT_PLUGINS_CPU_HALF_H_

#include <cstdint>
#include <cstring>

namespace mbert::cpu {

struct Float16 {
  std::uint16_t bits;
};

struct BFloat16 {
  std::uint16_t bits;
};

namespace {  // NOLINT(google-build-namespaces)

template <typename To, typename From>
[[gnu::always_inline]] inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

template <typename T>
[[gnu::always_inline]] inline T read(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// In the four functions below, Int and Float are int32_t and float, or vectors of them with the
// same number of lanes. The 16-bit pattern is in the low half of each lane.

template <typename Int, typename Float>
[[gnu::always_inline]] inline Float float16_to_float(Int half) {
  const Int magnitude = (half & 0x7fff) << 13;
  const Int exponent = magnitude & (0x7c00 << 13);
  const Int rebiased = magnitude + ((127 - 15) << 23);
  const Int infinite_or_nan = rebiased + ((128 - 16) << 23);
  // A subnormal has no implicit leading one: add one, and subtract it again as a float.
  const Int bias = Int{} + (113 << 23);
  const Float subnormal = bit_cast<Float>(rebiased + (1 << 23)) - bit_cast<Float>(bias);
  const Int finite = exponent == 0 ? bit_cast<Int>(subnormal) : rebiased;
  const Int unsigned_bits = exponent == (0x7c00 << 13) ? infinite_or_nan : finite;
  return bit_cast<Float>(unsigned_bits | ((half & 0x8000) << 16));
}

template <typename Int, typename Float>
[[gnu::always_inline]] inline Int float_to_float16(Float value) {
  const Int bits = bit_cast<Int>(value);
  const Int magnitude = bits & 0x7fffffff;
  // Adding this float moves a subnormal's bits to the bottom and rounds them.
  const Int magic = Int{} + ((127 - 15 + 23 - 10 + 1) << 23);
  const Int subnormal = bit_cast<Int>(bit_cast<Float>(magnitude) + bit_cast<Float>(magic)) - magic;
  const Int odd = (magnitude >> 13) & 1;
  const Int normal = (magnitude + (0xfff - (112 << 23)) + odd) >> 13;
  const Int special = magnitude > 0x7f800000 ? Int{} + 0x7e00 : Int{} + 0x7c00;
  const Int finite = magnitude < (113 << 23) ? subnormal : normal;
  return (magnitude >= (143 << 23) ? special : finite) | ((bits >> 16) & 0x8000);
}

template <typename Int, typename Float>
[[gnu::always_inline]] inline Float bfloat16_to_float(Int half) {
  return bit_cast<Float>(half << 16);
}

template <typename Int, typename Float>
[[gnu::always_inline]] inline Int float_to_bfloat16(Float value) {
  const Int bits = bit_cast<Int>(value);
  const Int magnitude = bits & 0x7fffffff;
  const Int kept = magnitude >> 16;
  const Int carry = ((magnitude & 0xffff) + 0x7fff + (kept & 1)) >> 16;
  const Int rounded = magnitude > 0x7f800000 ? kept | 0x40 : kept + carry;
  return rounded | ((bits >> 16) & 0x8000);
}

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_HALF_H_
