// The probes of primitives.h and the violations on the emulated GPU, called from Python.
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>

#include "emulation/gpu.h"
#include "guarded.h"
#include "primitives.h"
#include "violations.h"

namespace mbert::cuda {
namespace {

constexpr std::int64_t kWordBytes = 4;

struct Words {
  const std::uint32_t* in;
  std::int64_t in_count;
  std::uint32_t* out;
  std::int64_t out_count;

  GlobalMemory memory() const {
    GlobalMemory memory;
    memory.add("in", in, static_cast<std::size_t>(in_count * kWordBytes),
               GlobalMemory::Access::kRead);
    memory.add("out", out, static_cast<std::size_t>(out_count * kWordBytes),
               GlobalMemory::Access::kWrite);
    return memory;
  }

  void expect(std::int64_t in_words, std::int64_t out_words) const {
    if (in_count == in_words && out_count == out_words) return;
    throw std::runtime_error("needs " + std::to_string(in_words) + " words and gives " +
                             std::to_string(out_words));
  }
};

template <class Probe>
bool run_if(const std::string& name, int capability, std::uint64_t seed, const Words& words) {
  if (name != Probe::kName) return false;
  constexpr int kThreads = Probe::kGridX * Probe::kGridY * Probe::kThreads;
  words.expect(kThreads * Probe::kIn, kThreads * Probe::kOut);
  EmulatedLaunch launch;
  launch.grid_x = Probe::kGridX;
  launch.grid_y = Probe::kGridY;
  launch.threads = Probe::kThreads;
  launch.shared_bytes = Probe::kSharedBytes;
  launch.capability = capability;
  launch.seed = seed;
  GlobalMemory memory = words.memory();
  emulate(launch, memory, [&](Emulated& machine) { Probe::run(machine, words.in, words.out); });
  memory.check_written("out");
  return true;
}

template <class... Probe>
void run_probe(std::tuple<Probe...>, const std::string& name, int capability, std::uint64_t seed,
               const Words& words) {
  if (!(run_if<Probe>(name, capability, seed, words) || ...)) {
    throw std::runtime_error("no probe is named '" + name + "'");
  }
}

}  // namespace
}  // namespace mbert::cuda

// Writes the error message, or an empty string, into error[error_size].
extern "C" __attribute__((visibility("default"))) void mbert_emulated_probe(
    const char* name, std::int32_t capability, std::uint64_t seed, const std::uint32_t* in,
    std::int64_t in_words, std::uint32_t* out, std::int64_t out_words, char* error,
    std::int64_t error_size) {
  using namespace mbert::cuda;
  guarded(error, error_size,
          [&] { run_probe(Probes{}, name, capability, seed, {in, in_words, out, out_words}); });
}

extern "C" __attribute__((visibility("default"))) void mbert_emulated_violation(
    const char* name, std::uint64_t seed, char* error, std::int64_t error_size) {
  using namespace mbert::cuda;
  guarded(error, error_size, [&] {
    // With a gap, so that the memory after one is not the other.
    constexpr int kCount = Violation::kThreads;
    alignas(16) std::uint32_t words[4 * kCount] = {};
    const std::uint32_t* in = words;
    std::uint32_t* out = words + 2 * kCount;
    GlobalMemory memory = Words{in, kCount, out, kCount}.memory();
    EmulatedLaunch launch;
    launch.threads = kCount;
    launch.shared_bytes = Violation::kSharedBytes;
    launch.seed = seed;
    const auto run = violations().at(name);
    emulate(launch, memory, [&](Emulated& machine) { run({machine, in, out}); });
    memory.check_written("out");
  });
}
