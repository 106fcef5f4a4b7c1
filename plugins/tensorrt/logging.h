// Errors of the plugins: messages to the user, and the conversion of exceptions.
#ifndef MBERT_PLUGINS_TENSORRT_LOGGING_H_
#define MBERT_PLUGINS_TENSORRT_LOGGING_H_

#include <NvInferRuntime.h>

#include <exception>
#include <stdexcept>
#include <string>

namespace mbert::trt {

// An invalid attribute, input or call, with a message for the user.
class Problem : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws the error message of a validation, unless it is empty.
inline void require_valid(const std::string& problem) {
  if (!problem.empty()) throw Problem(problem);
}

// Sets the destination of messages; nullptr: standard error.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

// Logs the error "mbert: SUBJECT: MESSAGE" with the logger that TensorRT uses in this thread.
void log_error(const char* subject, const char* message) noexcept;

// Returns the result of fn. If fn throws, logs the error and returns `failure`: no exception may
// reach TensorRT.
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
