// Prints the message of launch_problem() for each error, one per line, for a GPU of the compute
// capability on the command line (10 * major + minor).
#include <cstdio>
#include <cstdlib>

#include "cuda/launch_problem.h"

namespace {

int compute_capability = 0;

}  // namespace

// A stand-in for the CUDA runtime, with that GPU.
extern "C" cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
extern "C" cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute,
                                              int /*device*/) {
  const bool is_major = attribute == cudaDevAttrComputeCapabilityMajor;
  *value = is_major ? compute_capability / 10 : compute_capability % 10;
  return cudaSuccess;
}
extern "C" const char* cudaGetErrorName(cudaError_t /*error*/) { return "NAME"; }
extern "C" const char* cudaGetErrorString(cudaError_t /*error*/) { return "STRING"; }

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s COMPUTE_CAPABILITY\n", argv[0]), 2;
  compute_capability = std::atoi(argv[1]);
  mbert::cuda::VarlenAttentionParams params;
  params.type = mbert::ElementType::kBFloat16;
  for (const cudaError_t error : {cudaSuccess, cudaErrorInvalidValue, cudaErrorNotSupported,
                                  cudaErrorNoKernelImageForDevice, cudaErrorLaunchFailure}) {
    std::printf("%s\n", mbert::cuda::launch_problem(error, params).c_str());
  }
  return 0;
}
