// ONNX Runtime's C++ API, for a library that does not link ONNX Runtime: it receives the API when
// it is loaded (see library.cc).
#ifndef MBERT_PLUGINS_ONNXRUNTIME_API_H_
#define MBERT_PLUGINS_ONNXRUNTIME_API_H_

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include <cstdint>

namespace mbert::ort {

// The API version that the library requests: that of the oldest ONNX Runtime that can load it, even
// if the build has newer headers.
constexpr std::uint32_t kApiVersion = 21;

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_API_H_
