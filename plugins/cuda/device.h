// The current CUDA device.
#ifndef MBERT_PLUGINS_CUDA_DEVICE_H_
#define MBERT_PLUGINS_CUDA_DEVICE_H_

#include <cuda_runtime_api.h>

namespace mbert::cuda {

// Sets *capability to the device's compute capability, as 10 * major + minor.
inline cudaError_t get_compute_capability(int* capability) {
  int device = 0;
  int major = 0;
  int minor = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  *capability = 10 * major + minor;
  return error;
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_DEVICE_H_
