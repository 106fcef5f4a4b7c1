// ONNX Runtime's C++ API, as a library that does not link ONNX Runtime includes it: whoever loads
// the library hands it the API (see library.cc).
#ifndef MBERT_PLUGINS_ONNXRUNTIME_API_H_
#define MBERT_PLUGINS_ONNXRUNTIME_API_H_

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include <cstdint>

namespace mbert::ort {

// The version that is asked for, whatever newer headers the build found: what is asked for is the
// oldest ONNX Runtime that the library runs in.
constexpr std::uint32_t kApiVersion = 21;

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_API_H_
