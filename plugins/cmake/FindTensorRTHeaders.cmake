# Find the C++ headers of TensorRT: see FindHeaders.cmake. The version is major.minor.
include("${CMAKE_CURRENT_LIST_DIR}/FindHeaders.cmake")

# NV_TENSORRT_MAJOR is a number or, since 10.13, the name of another macro with the number.
function(mbert_tensorrt_version directory result)
  file(STRINGS "${directory}/NvInferVersion.h" lines
    REGEX "^#define (NV_TENSORRT|TRT)_(MAJOR|MINOR)(_ENTERPRISE)? [0-9]+")
  string(REGEX REPLACE "^.*_MAJOR[A-Z_]* ([0-9]+).*_MINOR[A-Z_]* ([0-9]+).*$" "\\1.\\2" version "${lines}")
  if(NOT version MATCHES "^[0-9]+\\.[0-9]+$")
    set(version 0)
  endif()
  set(${result} "${version}" PARENT_SCOPE)
endfunction()

find_headers(TensorRT TENSORRT_ROOT TensorRT
  FILE NvInferVersion.h
  SUFFIXES include include/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu
  SYSTEM /usr /usr/local /usr/local/tensorrt
  FETCHED tensorrt-headers
  SCRIPT plugins/tensorrt/fetch_headers.sh
  VERSION_COMMAND mbert_tensorrt_version
  HINTS
    "set TENSORRT_ROOT (CMake or environment variable) to the directory of a TensorRT installation"
    "build without them: -DMBERT_BUILD_TENSORRT=OFF")
