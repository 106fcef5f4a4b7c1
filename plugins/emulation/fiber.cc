// The fortified longjmp refuses to change to another stack.
#undef _FORTIFY_SOURCE

#include "fiber.h"

#include <ucontext.h>

#include <atomic>
#include <cstdint>
#include <utility>

namespace mbert::cuda {
namespace {

constexpr std::size_t kStackBytes = 128 << 10;
// Stacks start at different offsets in a page. Otherwise the same variable of all fibers would
// share a few lines of the first-level cache.
constexpr std::size_t kStaggers = 32;
constexpr std::size_t kStagger = 128;

thread_local ucontext_t creator;
thread_local ucontext_t created;

}  // namespace

// ucontext starts a fiber on its stack. Later switches use setjmp and longjmp, which make no system
// call and are twenty times as fast.
Fiber::Fiber(std::function<void()> body)
    : body_(std::move(body)), stack_(new std::byte[kStackBytes]) {
  static std::atomic<std::size_t> fibers{0};
  const auto self = reinterpret_cast<std::uintptr_t>(this);
  getcontext(&created);
  created.uc_stack.ss_sp = stack_.get();
  created.uc_stack.ss_size = kStackBytes - fibers++ % kStaggers * kStagger;
  created.uc_link = nullptr;
  makecontext(&created, reinterpret_cast<void (*)()>(&Fiber::enter), 2,
              static_cast<unsigned>(static_cast<std::uint64_t>(self) >> 32),
              static_cast<unsigned>(self));
  swapcontext(&creator, &created);
}

void Fiber::enter(unsigned high, unsigned low) {
  auto* self = reinterpret_cast<Fiber*>(
      static_cast<std::uintptr_t>(static_cast<std::uint64_t>(high) << 32 | low));
  if (_setjmp(self->point_) == 0) setcontext(&creator);
  self->body_();
}

void Fiber::hand_over(Fiber& other) {
  if (_setjmp(point_) == 0) _longjmp(other.point_, 1);
}

}  // namespace mbert::cuda
