#include "logging.h"

#include <atomic>
#include <cstdio>

namespace mbert::trt {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

void log(const char* text) {
  nvinfer1::ILoggerFinder* const finder = logger_finder;
  nvinfer1::ILogger* const logger = finder == nullptr ? nullptr : finder->findLogger();
  if (logger != nullptr) {
    logger->log(nvinfer1::ILogger::Severity::kERROR, text);
  } else {
    std::fprintf(stderr, "%s\n", text);
  }
}

}  // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept { logger_finder = finder; }

void log_error(const char* subject, const char* message) noexcept {
  try {
    log(("mbert: " + std::string(subject) + ": " + message).c_str());
  } catch (...) {
    // There is no memory for the text, or no logger.
    std::fprintf(stderr, "mbert: %s: %s\n", subject, message);
  }
}

}  // namespace mbert::trt
