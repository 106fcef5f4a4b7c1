// Probes: small kernels that show what one primitive does. They are templates over the machine,
// like the real kernels: the emulated GPU and a real GPU run the same source.
//
// A thread reads kIn words of 4 bytes from its row of `in` [threads, kIn], and writes kOut words to
// its row of `out`. test_primitives.py has the expected output, from the PTX manual.
#ifndef MBERT_TESTS_PLUGINS_CUDA_PRIMITIVES_H_
#define MBERT_TESTS_PLUGINS_CUDA_PRIMITIVES_H_

#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "cuda/arch/types.h"

namespace mbert::cuda {

template <class To, class From>
MBERT_DEVICE To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

template <int kInWords, int kOutWords, int kThreadCount = kWarpSize, int kBytes = 0,
          int kLeastCapability = 75>
struct Probe {
  static constexpr int kIn = kInWords;
  static constexpr int kOut = kOutWords;
  static constexpr int kThreads = kThreadCount;
  static constexpr int kSharedBytes = kBytes;
  static constexpr int kCapability = kLeastCapability;
  static constexpr int kGridX = 1;
  static constexpr int kGridY = 1;

  template <class Machine>
  static MBERT_DEVICE const std::uint32_t* row_in(Machine& machine, const std::uint32_t* in) {
    return in + machine.thread() * kIn;
  }
  template <class Machine>
  static MBERT_DEVICE std::uint32_t* row_out(Machine& machine, std::uint32_t* out) {
    return out + machine.thread() * kOut;
  }
};

// in: nothing; out: thread, block_x, block_y.
struct ProbeIndices : Probe<0, 3, 64> {
  static constexpr const char* kName = "indices";
  static constexpr int kGridX = 3;
  static constexpr int kGridY = 2;

  template <class Machine>
  static MBERT_DEVICE void run(Machine& machine, const std::uint32_t*, std::uint32_t* out) {
    const int block = machine.block_y() * kGridX + machine.block_x();
    std::uint32_t* row = out + (block * kThreads + machine.thread()) * kOut;
    machine.store_global(row, static_cast<std::uint32_t>(machine.thread()));
    machine.store_global(row + 1, static_cast<std::uint32_t>(machine.block_x()));
    machine.store_global(row + 2, static_cast<std::uint32_t>(machine.block_y()));
  }
};

// in: 8 words; out: the same, through loads and stores of 16, 8, 4 and 2 bytes.
struct ProbeGlobal : Probe<8, 8> {
  static constexpr const char* kName = "global";

  template <class Machine>
  static MBERT_DEVICE void run(Machine& machine, const std::uint32_t* in, std::uint32_t* out) {
    const std::uint32_t* from = row_in(machine, in);
    std::uint32_t* to = row_out(machine, out);
    copy<Words4>(machine, from, to);
    copy<Float2>(machine, from + 4, to + 4);
    copy<std::uint32_t>(machine, from + 6, to + 6);
    copy<std::uint16_t>(machine, from + 7, to + 7);
    copy<std::uint16_t>(machine, reinterpret_cast<const std::uint16_t*>(from + 7) + 1,
                        reinterpret_cast<std::uint16_t*>(to + 7) + 1);
  }

 private:
  template <class T, class Machine>
  static MBERT_DEVICE void copy(Machine& machine, const void* from, void* to) {
    machine.store_global(static_cast<T*>(to), machine.load_global(static_cast<const T*>(from)));
  }
};

// in: 6 words; out: those of thread + 33, through shared memory in 16, 4 and 4 bytes.
struct ProbeShared : Probe<6, 6, 128, 128 * 24> {
  static constexpr const char* kName = "shared";

  template <class Machine>
  static MBERT_DEVICE void run(Machine& machine, const std::uint32_t* in, std::uint32_t* out) {
    const std::uint32_t* from = row_in(machine, in);
    Words4 words;
    for (int i = 0; i < 4; ++i) words.word[i] = machine.load_global(from + i);
    const auto own = static_cast<std::uint32_t>(machine.thread());
    const std::uint32_t other = (own + 33) % kThreads;
    machine.template store_shared<Words4>(own * 16, words);
    machine.template store_shared<std::uint32_t>(kThreads * 16 + own * 8,
                                                 machine.load_global(from + 4));
    machine.template store_shared<float>(kThreads * 16 + own * 8 + 4,
                                         bits_as<float>(machine.load_global(from + 5)));
    machine.barrier();
    words = machine.template load_shared<Words4>(other * 16);
    const auto pair = machine.template load_shared<Float2>(kThreads * 16 + other * 8);
    std::uint32_t* to = row_out(machine, out);
    for (int i = 0; i < 4; ++i) machine.store_global(to + i, words.word[i]);
    machine.store_global(to + 4, bits_as<std::uint32_t>(pair.x));
    machine.store_global(to + 5, bits_as<std::uint32_t>(pair.y));
  }
};

// in: value, mask (the same in all lanes); out: the value of lane ^ mask.
struct ProbeShuffleXor : Probe<2, 1> {
  static constexpr const char* kName = "shuffle_xor";

  template <class Machine>
  static MBERT_DEVICE void run(Machine& machine, const std::uint32_t* in, std::uint32_t* out) {
    const std::uint32_t* from = row_in(machine, in);
    const auto value = bits_as<float>(machine.load_global(from));
    const int mask = static_cast<int>(machine.load_global(from + 1));
    machine.store_global(row_out(machine, out),
                         bits_as<std::uint32_t>(machine.shuffle_xor(value, mask)));
  }
};

// in: the offset to pass, then the four words to store at 16 * lane; out: the four registers.
template <bool kTransposed>
struct ProbeLdmatrix : Probe<5, 4, kWarpSize, kWarpSize * 16> {
  static constexpr const char* kName = kTransposed ? "ldmatrix_x4_trans" : "ldmatrix_x4";

  template <class Machine>
  static MBERT_DEVICE void run(Machine& machine, const std::uint32_t* in, std::uint32_t* out) {
    const std::uint32_t* from = ProbeLdmatrix::row_in(machine, in);
    Words4 words;
    for (int i = 0; i < 4; ++i) words.word[i] = machine.load_global(from + 1 + i);
    machine.template store_shared<Words4>(static_cast<std::uint32_t>(machine.thread()) * 16, words);
    machine.barrier();
    const std::uint32_t offset = machine.load_global(from);
    std::uint32_t r[4];
    if constexpr (kTransposed) {
      machine.ldmatrix_x4_trans(r, offset);
    } else {
      machine.ldmatrix_x4(r, offset);
    }
    std::uint32_t* to = ProbeLdmatrix::row_out(machine, out);
    for (int i = 0; i < 4; ++i) machine.store_global(to + i, r[i]);
  }
};

// Two groups of copies; the first is read while the second may still be in flight.
// in: for each group the 16-byte slot to copy to, and whether it is valid; then the 16 bytes for
// each. out: for each group the contents of the slot with the thread's index.
struct ProbeCpAsync : Probe<12, 8, 64, 2 * 64 * 16, 80> {
  static constexpr const char* kName = "cp_async16";

  template <class Machine>
  static MBERT_DEVICE void run(Machine& machine, const std::uint32_t* in, std::uint32_t* out) {
    constexpr std::uint32_t kGroupBytes = kThreads * 16;
    const std::uint32_t* from = row_in(machine, in);
    for (std::uint32_t group = 0; group < 2; ++group) {
      const std::uint32_t slot = machine.load_global(from + 2 * group);
      const bool valid = machine.load_global(from + 2 * group + 1) != 0;
      machine.cp_async16(group * kGroupBytes + slot * 16, from + 4 + 4 * group, valid);
      machine.cp_async_commit();
    }
    const std::uint32_t own = static_cast<std::uint32_t>(machine.thread()) * 16;
    std::uint32_t* to = row_out(machine, out);
    machine.template cp_async_wait<1>();
    machine.barrier();
    store(machine, to, machine.template load_shared<Words4>(own));
    machine.template cp_async_wait<0>();
    machine.barrier();
    store(machine, to + 4, machine.template load_shared<Words4>(kGroupBytes + own));
  }

 private:
  template <class Machine>
  static MBERT_DEVICE void store(Machine& machine, std::uint32_t* to, const Words4& words) {
    for (int i = 0; i < 4; ++i) machine.store_global(to + i, words.word[i]);
  }
};

// in: the registers of a, of b, and of the accumulator; out: the accumulator.
template <int kA, int kB, int kCapability>
struct ProbeMma : Probe<kA + kB + 4, 4, kWarpSize, 0, kCapability> {
  template <class Machine, class Multiply>
  static MBERT_DEVICE void multiply_add(Machine& machine, const std::uint32_t* in,
                                        std::uint32_t* out, Multiply multiply) {
    const std::uint32_t* from = ProbeMma::row_in(machine, in);
    std::uint32_t a[kA];
    std::uint32_t b[kB];
    float d[4];
    for (int i = 0; i < kA; ++i) a[i] = machine.load_global(from + i);
    for (int i = 0; i < kB; ++i) b[i] = machine.load_global(from + kA + i);
    for (int i = 0; i < 4; ++i) d[i] = bits_as<float>(machine.load_global(from + kA + kB + i));
    multiply(d, a, b);
    std::uint32_t* to = ProbeMma::row_out(machine, out);
    for (int i = 0; i < 4; ++i) machine.store_global(to + i, bits_as<std::uint32_t>(d[i]));
  }
};

template <class T>
constexpr const char* kMmaK16Name = "mma_k16_float16";
template <>
inline constexpr const char* kMmaK16Name<BFloat16> = "mma_k16_bfloat16";

template <class T>
struct ProbeMmaK16 : ProbeMma<4, 2, 80> {
  static constexpr const char* kName = kMmaK16Name<T>;

  template <class Machine>
  static MBERT_DEVICE void run(Machine& machine, const std::uint32_t* in, std::uint32_t* out) {
    multiply_add(machine, in, out,
                 [&](auto& d, auto& a, auto& b) { machine.template mma_k16<T>(d, a, b); });
  }
};

struct ProbeMmaK8 : ProbeMma<2, 1, 75> {
  static constexpr const char* kName = "mma_k8";

  template <class Machine>
  static MBERT_DEVICE void run(Machine& machine, const std::uint32_t* in, std::uint32_t* out) {
    multiply_add(machine, in, out, [&](auto& d, auto& a, auto& b) { machine.mma_k8(d, a, b); });
  }
};

// in: two floats; out: both packed in one word, and the two floats unpacked from it.
template <class T>
constexpr const char* kConvertName = "convert_float16";
template <>
inline constexpr const char* kConvertName<BFloat16> = "convert_bfloat16";

template <class T>
struct ProbeConvert : Probe<2, 3, kWarpSize, 0, std::is_same_v<T, BFloat16> ? 80 : 75> {
  static constexpr const char* kName = kConvertName<T>;

  template <class Machine>
  static MBERT_DEVICE void run(Machine& machine, const std::uint32_t* in, std::uint32_t* out) {
    const std::uint32_t* from = ProbeConvert::row_in(machine, in);
    const auto low = bits_as<float>(machine.load_global(from));
    const auto high = bits_as<float>(machine.load_global(from + 1));
    const std::uint32_t packed = machine.template pack<T>(low, high);
    const Float2 back = machine.template unpack<T>(packed);
    std::uint32_t* to = ProbeConvert::row_out(machine, out);
    machine.store_global(to, packed);
    machine.store_global(to + 1, bits_as<std::uint32_t>(back.x));
    machine.store_global(to + 2, bits_as<std::uint32_t>(back.y));
  }
};

// in: x; out: 2 to the x.
struct ProbeExp2 : Probe<1, 1> {
  static constexpr const char* kName = "exp2";

  template <class Machine>
  static MBERT_DEVICE void run(Machine& machine, const std::uint32_t* in, std::uint32_t* out) {
    const auto x = bits_as<float>(machine.load_global(row_in(machine, in)));
    machine.store_global(row_out(machine, out), bits_as<std::uint32_t>(machine.exp2(x)));
  }
};

using Probes =
    std::tuple<ProbeIndices, ProbeGlobal, ProbeShared, ProbeShuffleXor, ProbeLdmatrix<false>,
               ProbeLdmatrix<true>, ProbeCpAsync, ProbeMmaK16<Float16>, ProbeMmaK16<BFloat16>,
               ProbeMmaK8, ProbeConvert<Float16>, ProbeConvert<BFloat16>, ProbeExp2>;

}  // namespace mbert::cuda

#endif  // MBERT_TESTS_PLUGINS_CUDA_PRIMITIVES_H_
