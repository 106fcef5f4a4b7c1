# Finds the C++ headers of TensorRT and makes the target TensorRT::headers. In this order:
#   1. TENSORRT_ROOT, a CMake or environment variable; nothing else is looked at when it is set
#   2. the system
#   3. build/tensorrt-headers in the source tree, where plugins/tensorrt/fetch_headers.sh puts them
# Sets TensorRTHeaders_INCLUDE_DIR and TensorRTHeaders_VERSION (major.minor).

set(_mbert_fetched "${CMAKE_CURRENT_LIST_DIR}/../../build/tensorrt-headers")
get_filename_component(_mbert_fetched "${_mbert_fetched}" ABSOLUTE)
set(_mbert_suffixes include include/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)

if(NOT TENSORRT_ROOT AND NOT "$ENV{TENSORRT_ROOT}" STREQUAL "")
  # Into the cache: a later reconfiguration may not see the environment of this one.
  set(TENSORRT_ROOT "$ENV{TENSORRT_ROOT}" CACHE PATH "Where TensorRT's headers are" FORCE)
endif()
if(TENSORRT_ROOT)
  set(_mbert_places "${TENSORRT_ROOT}")
else()
  set(_mbert_places /usr /usr/local /usr/local/tensorrt "${_mbert_fetched}")
endif()

set(TensorRTHeaders_INCLUDE_DIR "")
set(TensorRTHeaders_VERSION "")
set(TensorRTHeaders_FOUND FALSE)
set(_mbert_seen "")
foreach(_mbert_place IN LISTS _mbert_places)
  foreach(_mbert_suffix IN LISTS _mbert_suffixes)
    set(_mbert_directory "${_mbert_place}/${_mbert_suffix}")
    if(TensorRTHeaders_FOUND OR NOT EXISTS "${_mbert_directory}/NvInferVersion.h")
      continue()
    endif()
    # NV_TENSORRT_MAJOR is the number itself or, since 10.13, the name of another macro that has it.
    file(STRINGS "${_mbert_directory}/NvInferVersion.h" _mbert_lines
      REGEX "^#define (NV_TENSORRT|TRT)_(MAJOR|MINOR)(_ENTERPRISE)? [0-9]+")
    string(REGEX REPLACE "^.*_MAJOR[A-Z_]* ([0-9]+).*_MINOR[A-Z_]* ([0-9]+).*$" "\\1.\\2" _mbert_version "${_mbert_lines}")
    if(NOT _mbert_version MATCHES "^[0-9]+\\.[0-9]+$")
      set(_mbert_version 0)
    endif()
    if(TensorRTHeaders_FIND_VERSION AND _mbert_version VERSION_LESS TensorRTHeaders_FIND_VERSION)
      string(APPEND _mbert_seen "\n    (${_mbert_directory} has those of ${_mbert_version}: too old)")
      continue()
    endif()
    set(TensorRTHeaders_INCLUDE_DIR "${_mbert_directory}")
    set(TensorRTHeaders_VERSION "${_mbert_version}")
    set(TensorRTHeaders_FOUND TRUE)
  endforeach()
endforeach()

if(NOT TensorRTHeaders_FOUND)
  list(JOIN _mbert_places ", " _mbert_places)
  list(JOIN _mbert_suffixes ", " _mbert_suffixes)
  set(_mbert_message
    "The headers of TensorRT ${TensorRTHeaders_FIND_VERSION} or newer were not found.\n"
    "  Looked for NvInferVersion.h under ${_mbert_places} (in ${_mbert_suffixes}).${_mbert_seen}\n"
    "  Any one of these helps:\n"
    "    - run plugins/tensorrt/fetch_headers.sh, which puts them into build/tensorrt-headers\n"
    "    - set TENSORRT_ROOT (CMake or environment variable) to the directory of a TensorRT installation\n"
    "    - -DMBERT_BUILD_TENSORRT=OFF builds without them")
  list(JOIN _mbert_message "" _mbert_message)
  if(TensorRTHeaders_FIND_REQUIRED)
    message(FATAL_ERROR "${_mbert_message}")
  elseif(NOT TensorRTHeaders_FIND_QUIETLY)
    message(STATUS "${_mbert_message}")
  endif()
elseif(NOT TARGET TensorRT::headers)
  message(STATUS "TensorRT headers: ${TensorRTHeaders_INCLUDE_DIR} (${TensorRTHeaders_VERSION})")
  # Imported, so that the compiler takes them for system headers and keeps its warnings to our code; global,
  # for the tests.
  add_library(TensorRT::headers INTERFACE IMPORTED GLOBAL)
  set_target_properties(TensorRT::headers PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${TensorRTHeaders_INCLUDE_DIR}")
endif()
