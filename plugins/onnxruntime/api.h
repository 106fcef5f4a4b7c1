// ONNX Runtime's C++ API, as a library that does not link ONNX Runtime includes it: whoever loads
// the library hands it the API (see library.cc).
#ifndef MBERT_PLUGINS_ONNXRUNTIME_API_H_
#define MBERT_PLUGINS_ONNXRUNTIME_API_H_

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#endif  // MBERT_PLUGINS_ONNXRUNTIME_API_H_
