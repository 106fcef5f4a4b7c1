// Fibers: cooperative threads within one thread of the operating system, each with its own stack.
#ifndef MBERT_PLUGINS_EMULATION_FIBER_H_
#define MBERT_PLUGINS_EMULATION_FIBER_H_

#include <csetjmp>
#include <cstddef>
#include <functional>
#include <memory>

namespace mbert::cuda {

class Fiber {
 public:
  // The fiber of the code that is already running.
  Fiber() = default;

  // A new fiber, which starts when control is first handed to it. The body must not return or
  // throw, and is not unwound when the fiber is destroyed.
  explicit Fiber(std::function<void()> body);

  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Suspends this fiber, which must be the running one, and resumes the other.
  void hand_over(Fiber& other);

 private:
  static void enter(unsigned high, unsigned low);

  std::function<void()> body_;
  std::unique_ptr<std::byte[]> stack_;
  std::jmp_buf point_;
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_EMULATION_FIBER_H_
