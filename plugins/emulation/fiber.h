// Fibers: several flows of control on one thread of the operating system, each with its own stack,
// which hand over to each other where they choose to.
#ifndef MBERT_PLUGINS_EMULATION_FIBER_H_
#define MBERT_PLUGINS_EMULATION_FIBER_H_

#include <csetjmp>
#include <cstddef>
#include <functional>
#include <memory>

namespace mbert::cuda {

class Fiber {
 public:
  // The flow that is running already.
  Fiber() = default;

  // A new one, which waits until it is first handed control. The body never returns, lets no
  // exception out, and is not unwound when the fiber is destroyed.
  explicit Fiber(std::function<void()> body);

  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Stops this fiber, which has to be the one running, and goes on in the other where that stopped.
  void hand_over(Fiber& other);

 private:
  static void enter(unsigned high, unsigned low);

  std::function<void()> body_;
  std::unique_ptr<std::byte[]> stack_;
  std::jmp_buf point_;
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_EMULATION_FIBER_H_
