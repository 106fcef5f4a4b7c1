#include "gpu.h"

#include <cmath>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>

#include "cpu/half.h"
#include "fiber.h"

namespace mbert::cuda {
namespace {

using Mask = std::uint32_t;  // of lanes

// A lane's operands of a warp-wide primitive, and where its results go.
struct ShuffleOperands {
  float value;
  int mask;
  float result;
};

struct LdmatrixOperands {
  std::uint32_t* r;
  std::uint32_t offset;
};

struct MmaOperands {
  float* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
};

Mask bit(int lane) { return Mask{1} << lane; }

}  // namespace

// Runs the blocks of a launch, one at a time.
class EmulatedBlock {
 public:
  EmulatedBlock(const EmulatedLaunch& launch, GlobalMemory& memory,
                const std::function<void(Emulated&)>& kernel);

  void run(int x, int y);

  int x() const { return x_; }
  int y() const { return y_; }
  SharedMemory& shared() { return shared_; }
  GlobalMemory& global() { return global_; }

  // Throws if the emulated GPU has a lower compute capability.
  void require(int capability) const;

  void barrier(const Emulated& thread);

  // The last lane to arrive computes for all: compute(block, line, operands of the 32 lanes).
  using Operands = void* const (&)[kWarpSize];
  using Compute = void (*)(EmulatedBlock&, int, Operands);
  void collective(const Emulated& thread, Compute compute, void* operands);

 private:
  using Index = std::size_t;

  struct Warp {
    Mask ready = 0;    // lanes that can run, but are not running
    Mask arrived = 0;  // lanes that wait for the others at this primitive:
    Compute compute = nullptr;
    int line = 0;
    void* operands[kWarpSize];
  };

  void thread_main(int index);
  void go_on(const Emulated& thread);
  Fiber& next();
  std::string where() const;
  std::string census() const;

  int capability_;
  GlobalMemory& global_;
  SharedMemory shared_;
  const std::function<void(Emulated&)>& kernel_;
  std::mt19937 random_;
  int x_ = 0;
  int y_ = 0;
  Index at_barrier_ = 0;
  int barrier_line_ = 0;
  Index exited_ = 0;
  Index current_warp_ = 0;
  std::string failure_;
  std::vector<Warp> warps_;
  std::vector<Emulated> threads_;
  Fiber main_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
};

EmulatedBlock::EmulatedBlock(const EmulatedLaunch& launch, GlobalMemory& memory,
                             const std::function<void(Emulated&)>& kernel)
    : capability_(launch.capability),
      global_(memory),
      shared_(launch.shared_bytes),
      kernel_(kernel),
      random_(static_cast<std::mt19937::result_type>(launch.seed)),
      warps_(static_cast<Index>(launch.threads / kWarpSize)) {
  for (int i = 0; i < launch.threads; ++i) threads_.emplace_back(*this, i);
  for (int i = 0; i < launch.threads; ++i) {
    fibers_.push_back(std::make_unique<Fiber>([this, i] { thread_main(i); }));
  }
}

void EmulatedBlock::run(int x, int y) {
  x_ = x;
  y_ = y;
  at_barrier_ = 0;
  exited_ = 0;
  shared_.reset();
  for (Warp& warp : warps_) warp.ready = ~Mask{0};
  main_.hand_over(next());
  if (!failure_.empty()) throw std::runtime_error(failure_);
  if (exited_ != threads_.size()) throw std::runtime_error(where() + "stuck: " + census());
}

void EmulatedBlock::thread_main(int index) {
  Emulated& thread = threads_[static_cast<Index>(index)];
  for (;;) {
    thread.copies_.clear();
    thread.groups_ = 0;
    try {
      kernel_(thread);
    } catch (const std::exception& error) {
      failure_ = where() + "thread " + std::to_string(index) + ": " + thread.primitive_ + " in " +
                 thread.site_.file + ":" + std::to_string(thread.site_.line) + ": " + error.what();
    }
    ++exited_;
    thread.at("returned", {});
    fibers_[static_cast<Index>(index)]->hand_over(failure_.empty() ? next() : main_);
  }
}

void EmulatedBlock::go_on(const Emulated& thread) {
  fibers_[static_cast<Index>(thread.thread())]->hand_over(next());
}

// Returns a fiber that can run, mostly of the warp that ran last, which is faster.
Fiber& EmulatedBlock::next() {
  const auto draw = static_cast<std::uint32_t>(random_());
  if (draw % 8 == 0) current_warp_ = (draw >> 8) % warps_.size();
  for (Index i = 0; i < warps_.size(); ++i, current_warp_ = (current_warp_ + 1) % warps_.size()) {
    Mask& ready = warps_[current_warp_].ready;
    if (ready == 0) continue;
    const int first = static_cast<int>(draw >> 27);
    const Mask turned = first == 0 ? ready : ready >> first | ready << (kWarpSize - first);
    const int lane = (__builtin_ctz(turned) + first) % kWarpSize;
    ready &= ~bit(lane);
    return *fibers_[current_warp_ * kWarpSize + static_cast<Index>(lane)];
  }
  return main_;
}

void EmulatedBlock::require(int capability) const {
  if (capability_ >= capability) return;
  throw std::runtime_error("needs compute capability " + std::to_string(capability) +
                           ", and the block runs on " + std::to_string(capability_));
}

std::string EmulatedBlock::where() const {
  return "block (" + std::to_string(x_) + ", " + std::to_string(y_) + ") ";
}

// Returns how many threads are at which place, for messages.
std::string EmulatedBlock::census() const {
  std::map<std::string, int> counts;
  for (const Emulated& thread : threads_) {
    ++counts[thread.primitive_ + (" in line " + std::to_string(thread.site_.line))];
  }
  std::string text;
  for (const auto& [place, count] : counts) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " threads at " + place;
  }
  return text;
}

void EmulatedBlock::barrier(const Emulated& thread) {
  if (at_barrier_ == 0) barrier_line_ = thread.site_.line;
  if (thread.site_.line != barrier_line_) {
    throw std::runtime_error("other threads of the block are at the barrier in line " +
                             std::to_string(barrier_line_));
  }
  ++at_barrier_;
  if (at_barrier_ == threads_.size()) {
    at_barrier_ = 0;
    shared_.barrier();
    for (Warp& warp : warps_) warp.ready = ~Mask{0};
  }
  go_on(thread);
}

void EmulatedBlock::collective(const Emulated& thread, Compute compute, void* operands) {
  Warp& warp = warps_[static_cast<Index>(thread.thread() / kWarpSize)];
  const int lane = thread.thread() % kWarpSize;
  if (warp.arrived == 0) {
    warp.compute = compute;
    warp.line = thread.site_.line;
  }
  if (warp.compute != compute || warp.line != thread.site_.line) {
    throw std::runtime_error("other lanes of the warp are at another primitive: " + census());
  }
  warp.operands[lane] = operands;
  warp.arrived |= bit(lane);
  if (warp.arrived == ~Mask{0}) {
    compute(*this, warp.line, warp.operands);
    warp.arrived = 0;
    warp.ready = ~bit(lane);
    // The last lane continues at once, which saves a switch.
    return;
  }
  go_on(thread);
}

namespace {

// The numbering of fragments in the PTX manual: group is lane / 4, member is lane % 4.
constexpr int group(int lane) { return lane / 4; }
constexpr int member(int lane) { return lane % 4; }

template <class T>
float widen(std::uint32_t bits);

template <>
float widen<Float16>(std::uint32_t bits) {
  return cpu::float16_to_float<std::int32_t, float>(static_cast<std::int32_t>(bits));
}

template <>
float widen<BFloat16>(std::uint32_t bits) {
  return cpu::bfloat16_to_float<std::int32_t, float>(static_cast<std::int32_t>(bits));
}

std::uint32_t half(std::uint32_t pair, int which) { return pair >> (16 * which) & 0xffff; }

void compute_shuffle_xor(EmulatedBlock&, int, EmulatedBlock::Operands operands) {
  for (int lane = 0; lane < kWarpSize; ++lane) {
    auto* own = static_cast<ShuffleOperands*>(operands[lane]);
    own->result = static_cast<ShuffleOperands*>(operands[lane ^ own->mask])->value;
  }
}

template <bool kTransposed>
void compute_ldmatrix_x4(EmulatedBlock& block, int line, EmulatedBlock::Operands operands) {
  constexpr int kSize = 8;
  constexpr int kMatrices = 4;
  for (int j = 0; j < kMatrices; ++j) {
    std::uint16_t matrix[kSize][kSize];
    for (int row = 0; row < kSize; ++row) {
      const int lane = kSize * j + row;
      const std::uint32_t offset = static_cast<LdmatrixOperands*>(operands[lane])->offset;
      try {
        block.shared().read(offset, sizeof(matrix[row]), SharedMemory::kWarp, line, matrix[row]);
      } catch (const std::runtime_error& error) {
        throw std::runtime_error("row address of lane " + std::to_string(lane) + ": " +
                                 error.what());
      }
    }
    for (int lane = 0; lane < kWarpSize; ++lane) {
      const int row = group(lane);
      const int column = 2 * member(lane);
      const std::uint32_t low = kTransposed ? matrix[column][row] : matrix[row][column];
      const std::uint32_t high = kTransposed ? matrix[column + 1][row] : matrix[row][column + 1];
      static_cast<LdmatrixOperands*>(operands[lane])->r[j] = low | high << 16;
    }
  }
}

// Each register holds two neighbours along k; the registers of a go down the rows first.
template <class T, int kDepth>
void compute_mma(EmulatedBlock&, int, EmulatedBlock::Operands operands) {
  constexpr int kRows = 16;
  constexpr int kColumns = 8;
  float a[kRows][kDepth];
  float b[kDepth][kColumns];
  float d[kRows][kColumns];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const auto* own = static_cast<const MmaOperands*>(operands[lane]);
    const int k = 2 * member(lane);
    for (int i = 0; i < 2; ++i) {
      for (int r = 0; r < kDepth / 4; ++r) {
        a[group(lane) + 8 * (r % 2)][k + i + 8 * (r / 2)] = widen<T>(half(own->a[r], i));
      }
      for (int r = 0; r < kDepth / 8; ++r) {
        b[k + i + 8 * r][group(lane)] = widen<T>(half(own->b[r], i));
      }
      for (int r = 0; r < 2; ++r) d[group(lane) + 8 * r][k + i] = own->d[2 * r + i];
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int k = 0; k < kDepth; ++k) {
      for (int column = 0; column < kColumns; ++column) d[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    float* own = static_cast<const MmaOperands*>(operands[lane])->d;
    for (int i = 0; i < 4; ++i) own[i] = d[group(lane) + 8 * (i / 2)][2 * member(lane) + i % 2];
  }
}

}  // namespace

int Emulated::block_x() const { return block_.x(); }
int Emulated::block_y() const { return block_.y(); }

void Emulated::barrier(Site site) {
  at("barrier", site);
  block_.barrier(*this);
}

float Emulated::shuffle_xor(float value, int mask, Site site) {
  at("shuffle_xor", site);
  if (mask < 0 || mask >= kWarpSize) {
    throw std::runtime_error("the mask is " + std::to_string(mask) + ", not one of 0 to 31");
  }
  ShuffleOperands operands{value, mask, 0.0f};
  block_.collective(*this, compute_shuffle_xor, &operands);
  return operands.result;
}

void Emulated::read_shared(std::uint32_t offset, std::size_t bytes, void* to, Site site) {
  at("load_shared", site);
  block_.shared().read(offset, bytes, thread_, site.line, to);
}

void Emulated::write_shared(std::uint32_t offset, std::size_t bytes, const void* from, Site site) {
  at("store_shared", site);
  block_.shared().write(offset, bytes, thread_, site.line, from);
}

void Emulated::check_global_read(const void* pointer, std::size_t bytes, Site site) {
  at("load_global", site);
  block_.global().check_read(pointer, bytes);
}

void Emulated::check_global_write(const void* pointer, std::size_t bytes, Site site) {
  at("store_global", site);
  block_.global().check_write(pointer, bytes);
}

void Emulated::ldmatrix_x4(std::uint32_t (&r)[4], std::uint32_t offset, Site site) {
  at("ldmatrix_x4", site);
  LdmatrixOperands operands{r, offset};
  block_.collective(*this, compute_ldmatrix_x4<false>, &operands);
}

void Emulated::ldmatrix_x4_trans(std::uint32_t (&r)[4], std::uint32_t offset, Site site) {
  at("ldmatrix_x4_trans", site);
  LdmatrixOperands operands{r, offset};
  block_.collective(*this, compute_ldmatrix_x4<true>, &operands);
}

void Emulated::cp_async16(std::uint32_t offset, const void* global, bool valid, Site site) {
  at("cp_async16", site);
  block_.require(80);
  Copy copy{offset, groups_, {}};
  if (valid) {
    block_.global().check_read(global, sizeof(copy.bytes));
    std::memcpy(copy.bytes, global, sizeof(copy.bytes));
  }
  block_.shared().begin_copy(offset, sizeof(copy.bytes), thread_, site.line);
  copies_.push_back(copy);
}

void Emulated::cp_async_commit(Site site) {
  at("cp_async_commit", site);
  block_.require(80);
  ++groups_;
}

void Emulated::wait_copies(std::int64_t pending, Site site) {
  at("cp_async_wait", site);
  block_.require(80);
  auto copy = copies_.begin();
  for (; copy != copies_.end() && copy->group < groups_ - pending; ++copy) {
    block_.shared().land_copy(copy->offset, sizeof(copy->bytes), thread_, site.line, copy->bytes);
  }
  copies_.erase(copies_.begin(), copy);
}

template <class T>
void Emulated::mma_k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                       Site site) {
  at("mma_k16", site);
  block_.require(80);
  MmaOperands operands{d, a, b};
  block_.collective(*this, compute_mma<T, 16>, &operands);
}

template void Emulated::mma_k16<Float16>(float (&)[4], const std::uint32_t (&)[4],
                                         const std::uint32_t (&)[2], Site);
template void Emulated::mma_k16<BFloat16>(float (&)[4], const std::uint32_t (&)[4],
                                          const std::uint32_t (&)[2], Site);

void Emulated::mma_k8(float (&d)[4], const std::uint32_t (&a)[2], const std::uint32_t (&b)[1],
                      Site site) {
  at("mma_k8", site);
  MmaOperands operands{d, a, b};
  block_.collective(*this, compute_mma<Float16, 8>, &operands);
}

float Emulated::exp2(float x) { return std::exp2(x); }

namespace {

template <class T>
std::uint32_t narrow(float value);

template <>
std::uint32_t narrow<Float16>(float value) {
  return static_cast<std::uint32_t>(cpu::float_to_float16<std::int32_t, float>(value)) & 0xffff;
}

template <>
std::uint32_t narrow<BFloat16>(float value) {
  return static_cast<std::uint32_t>(cpu::float_to_bfloat16<std::int32_t, float>(value)) & 0xffff;
}

}  // namespace

template <class T>
std::uint32_t Emulated::pack(float low, float high) {
  return narrow<T>(low) | narrow<T>(high) << 16;
}

template <class T>
Float2 Emulated::unpack(std::uint32_t pair) {
  return {widen<T>(half(pair, 0)), widen<T>(half(pair, 1))};
}

template std::uint32_t Emulated::pack<Float16>(float, float);
template std::uint32_t Emulated::pack<BFloat16>(float, float);
template Float2 Emulated::unpack<Float16>(std::uint32_t);
template Float2 Emulated::unpack<BFloat16>(std::uint32_t);

void emulate(const EmulatedLaunch& launch, GlobalMemory& memory,
             const std::function<void(Emulated&)>& kernel) {
  if (launch.threads < kWarpSize || launch.threads > 1024 || launch.threads % kWarpSize != 0) {
    throw std::runtime_error("a block of " + std::to_string(launch.threads) +
                             " threads; it has whole warps of 32, at most 32 of them");
  }
  memory.begin_launch();
  EmulatedBlock block(launch, memory, kernel);
  for (int y = 0; y < launch.grid_y; ++y) {
    for (int x = 0; x < launch.grid_x; ++x) {
      if (!launch.filter || launch.filter(x, y)) block.run(x, y);
    }
  }
}

}  // namespace mbert::cuda
