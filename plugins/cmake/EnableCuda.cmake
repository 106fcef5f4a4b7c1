# Enables the language CUDA for the kernels in plugins/cuda, as MBERT_BUILD_CUDA says:
#   AUTO  when there is an nvcc that works
#   ON    always; an error when there is none
#   OFF   never
# nvcc is the one that CMAKE_CUDA_COMPILER, CUDACXX (environment), the PATH or /usr/local/cuda has. Sets
# MBERT_CUDA to whether it is enabled. Include it where the project begins.
include(CheckLanguage)

set(MBERT_BUILD_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO (when nvcc is found), ON or OFF")
set_property(CACHE MBERT_BUILD_CUDA PROPERTY STRINGS AUTO ON OFF)
set(MBERT_CUDA OFF)
if(MBERT_BUILD_CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    unset(CMAKE_CUDA_COMPILER CACHE)  # none was found the last time: look again
  endif()
  if(NOT CMAKE_CUDA_COMPILER AND "$ENV{CUDACXX}" STREQUAL "")
    find_program(MBERT_NVCC nvcc PATHS /usr/local/cuda/bin DOC "NVIDIA's compiler")
    mark_as_advanced(MBERT_NVCC)
    if(MBERT_NVCC)
      set(ENV{CUDACXX} "${MBERT_NVCC}")
    endif()
  endif()
  # The kernels' targets choose their own; without a choice, CMake wants one of the language.
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
