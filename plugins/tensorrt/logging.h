// What the plugins say to the user, and the wall that no exception passes.
#ifndef MBERT_PLUGINS_TENSORRT_LOGGING_H_
#define MBERT_PLUGINS_TENSORRT_LOGGING_H_

#include <NvInferRuntime.h>

#include <exception>
#include <stdexcept>
#include <string>

namespace mbert::trt {

// What is wrong with an attribute, an input or a call, in words for the user.
class Problem : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws what a validation found, if it found anything.
inline void require_valid(const std::string& problem) {
  if (!problem.empty()) throw Problem(problem);
}

// Where messages go from now on; nullptr: to standard error.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

// "mbert: SUBJECT: MESSAGE", as an error, to the logger of whoever calls the plugin from this
// thread.
void log_error(const char* subject, const char* message) noexcept;

// Returns what fn returns. If fn throws, logs why and returns `failure`: no exception may reach
// TensorRT.
template <typename Result, typename Fn>
Result guarded(const std::string& subject, Result failure, const Fn& fn) noexcept {
  try {
    return fn();
  } catch (const std::exception& error) {
    log_error(subject.c_str(), error.what());
  } catch (...) {
    log_error(subject.c_str(), "failed for an unknown reason");
  }
  return failure;
}

}  // namespace mbert::trt

#endif  // MBERT_PLUGINS_TENSORRT_LOGGING_H_
