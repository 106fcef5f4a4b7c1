# Enable the language CUDA for the kernels in plugins/cuda, depending on MBERT_BUILD_CUDA:
#   AUTO  if a working nvcc is found
#   ON    always; an error without nvcc
#   OFF   never
# nvcc is looked for in CMAKE_CUDA_COMPILER, CUDACXX (environment), the PATH and /usr/local/cuda. Sets
# MBERT_CUDA to whether CUDA is enabled. Include this file in the top-level CMakeLists.txt.
include(CheckLanguage)

set(MBERT_BUILD_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO (when nvcc is found), ON or OFF")
set_property(CACHE MBERT_BUILD_CUDA PROPERTY STRINGS AUTO ON OFF)
set(MBERT_CUDA OFF)
if(MBERT_BUILD_CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    unset(CMAKE_CUDA_COMPILER CACHE)  # not found last time: look again
  endif()
  if(NOT CMAKE_CUDA_COMPILER AND "$ENV{CUDACXX}" STREQUAL "")
    find_program(MBERT_NVCC nvcc PATHS /usr/local/cuda/bin DOC "NVIDIA's compiler")
    mark_as_advanced(MBERT_NVCC)
    if(MBERT_NVCC)
      set(ENV{CUDACXX} "${MBERT_NVCC}")
    endif()
  endif()
  # The kernels' targets set their own architectures; CMake requires a default.
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES OFF)
  endif()
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    set(MBERT_CUDA ON)
    message(STATUS "CUDA kernels: built by nvcc ${CMAKE_CUDA_COMPILER_VERSION} (${CMAKE_CUDA_COMPILER})")
  elseif(MBERT_BUILD_CUDA STREQUAL "AUTO")
    message(STATUS "CUDA kernels: not built, because there is no nvcc that works (CUDACXX can name one)")
  else()
    message(FATAL_ERROR
      "MBERT_BUILD_CUDA is ${MBERT_BUILD_CUDA}, but there is no nvcc that works.\n"
      "  Looked at CMAKE_CUDA_COMPILER, CUDACXX in the environment, the PATH and /usr/local/cuda/bin.\n"
      "  Any one of these helps:\n"
      "    - install the CUDA toolkit\n"
      "    - set CUDACXX to its nvcc\n"
      "    - -DMBERT_BUILD_CUDA=OFF builds without the CUDA kernels")
  endif()
else()
  message(STATUS "CUDA kernels: not built (MBERT_BUILD_CUDA is ${MBERT_BUILD_CUDA})")
endif()
