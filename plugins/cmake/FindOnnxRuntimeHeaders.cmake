# Find the C and C++ headers of ONNX Runtime, which its Python wheel does not contain: see
# FindHeaders.cmake. The version is 1.x, with x the API version of the headers.
include("${CMAKE_CURRENT_LIST_DIR}/FindHeaders.cmake")

function(mbert_onnxruntime_version directory result)
  file(STRINGS "${directory}/onnxruntime_c_api.h" line REGEX "^#define ORT_API_VERSION [0-9]+")
  string(REGEX MATCH "[0-9]+" version "${line}")
  set(${result} "1.${version}" PARENT_SCOPE)
endfunction()

find_headers(OnnxRuntime ONNXRUNTIME_ROOT "ONNX Runtime"
  FILE onnxruntime_cxx_api.h
  SUFFIXES include include/onnxruntime include/onnxruntime/core/session
  SYSTEM /usr /usr/local
  FETCHED onnxruntime-headers
  SCRIPT plugins/onnxruntime/fetch_headers.sh
  VERSION_COMMAND mbert_onnxruntime_version
  HINTS
    "install them (Debian 13 and later: libonnxruntime-dev)"
    "unpack an official release archive of ONNX Runtime, and set ONNXRUNTIME_ROOT (CMake or environment\n      variable) to its directory"
    "build without them: -DMBERT_BUILD_ONNXRUNTIME=OFF")
