# Finds the C and C++ headers of ONNX Runtime (its Python wheel has none) and makes the target
# OnnxRuntime::headers. In this order:
#   1. ONNXRUNTIME_ROOT, a CMake or environment variable; nothing else is looked at when it is set
#   2. the system
#   3. build/onnxruntime-headers in the source tree, where plugins/onnxruntime/fetch_headers.sh puts them
# Sets OnnxRuntimeHeaders_INCLUDE_DIR and OnnxRuntimeHeaders_VERSION (1.x: the API version of the headers).

set(_mbert_fetched "${CMAKE_CURRENT_LIST_DIR}/../../build/onnxruntime-headers")
get_filename_component(_mbert_fetched "${_mbert_fetched}" ABSOLUTE)
set(_mbert_suffixes include include/onnxruntime include/onnxruntime/core/session)

if(NOT ONNXRUNTIME_ROOT AND NOT "$ENV{ONNXRUNTIME_ROOT}" STREQUAL "")
  # Into the cache: a later reconfiguration may not see the environment of this one.
  set(ONNXRUNTIME_ROOT "$ENV{ONNXRUNTIME_ROOT}" CACHE PATH "Where ONNX Runtime's headers are" FORCE)
endif()
if(ONNXRUNTIME_ROOT)
  set(_mbert_places "${ONNXRUNTIME_ROOT}")
else()
  set(_mbert_places /usr /usr/local "${_mbert_fetched}")
endif()

set(OnnxRuntimeHeaders_INCLUDE_DIR "")
set(OnnxRuntimeHeaders_VERSION "")
set(_mbert_seen "")
foreach(_mbert_place IN LISTS _mbert_places)
  foreach(_mbert_suffix IN LISTS _mbert_suffixes)
    set(_mbert_directory "${_mbert_place}/${_mbert_suffix}")
    if(OnnxRuntimeHeaders_INCLUDE_DIR OR NOT EXISTS "${_mbert_directory}/onnxruntime_cxx_api.h")
      continue()
    endif()
    file(STRINGS "${_mbert_directory}/onnxruntime_c_api.h" _mbert_line REGEX "^#define ORT_API_VERSION [0-9]+")
    string(REGEX MATCH "[0-9]+" _mbert_version "${_mbert_line}")
    if(OnnxRuntimeHeaders_FIND_VERSION AND "1.${_mbert_version}" VERSION_LESS OnnxRuntimeHeaders_FIND_VERSION)
      string(APPEND _mbert_seen "\n    (${_mbert_directory} has those of 1.${_mbert_version}: too old)")
      continue()
    endif()
    set(OnnxRuntimeHeaders_INCLUDE_DIR "${_mbert_directory}")
    set(OnnxRuntimeHeaders_VERSION "1.${_mbert_version}")
  endforeach()
endforeach()

if(NOT OnnxRuntimeHeaders_INCLUDE_DIR)
  if(OnnxRuntimeHeaders_FIND_REQUIRED)
    list(JOIN _mbert_places ", " _mbert_places)
    list(JOIN _mbert_suffixes ", " _mbert_suffixes)
    message(FATAL_ERROR
      "The headers of ONNX Runtime ${OnnxRuntimeHeaders_FIND_VERSION} or newer were not found.\n"
      "  Looked for onnxruntime_cxx_api.h under ${_mbert_places} (in ${_mbert_suffixes}).${_mbert_seen}\n"
      "  Any one of these helps:\n"
      "    - run plugins/onnxruntime/fetch_headers.sh, which puts them into build/onnxruntime-headers\n"
      "    - install them (Debian 13 and later: libonnxruntime-dev)\n"
      "    - unpack an official release archive of ONNX Runtime, and set ONNXRUNTIME_ROOT (CMake or\n"
      "      environment variable) to its directory; -DMBERT_BUILD_ONNXRUNTIME=OFF builds without them")
  endif()
else()
  set(OnnxRuntimeHeaders_FOUND TRUE)
  if(NOT TARGET OnnxRuntime::headers)
    message(STATUS "ONNX Runtime headers: ${OnnxRuntimeHeaders_INCLUDE_DIR} (${OnnxRuntimeHeaders_VERSION})")
    # Imported, so that the compiler takes them for system headers and keeps its warnings to our code; global,
    # for the tests.
    add_library(OnnxRuntime::headers INTERFACE IMPORTED GLOBAL)
    set_target_properties(OnnxRuntime::headers PROPERTIES
      INTERFACE_INCLUDE_DIRECTORIES "${OnnxRuntimeHeaders_INCLUDE_DIR}")
  endif()
endif()
