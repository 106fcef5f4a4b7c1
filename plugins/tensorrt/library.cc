// The entry points of the library: TensorRT gets the plugin creators, and passes a logger.
#include <array>

#include "plugin.h"

#define MBERT_EXPORT extern "C" __attribute__((visibility("default")))

MBERT_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count) noexcept {
  using Creator = nvinfer1::IPluginCreatorInterface*;
  count = 0;
  return mbert::trt::guarded<const Creator*>("the plugin library", nullptr, [&count] {
    static const std::array<Creator, 2> creators = {mbert::trt::varlen_attention_creator(),
                                                    mbert::trt::varlen_pooling_creator()};
    count = static_cast<std::int32_t>(creators.size());
    return creators.data();
  });
}

MBERT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept {
  mbert::trt::set_logger_finder(finder);
}
