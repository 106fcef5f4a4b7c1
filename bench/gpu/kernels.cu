// The CUDA kernels and the probes of their primitives behind a C interface, for Python's ctypes.
// All pointers but `error` are to device memory; launches are asynchronous.
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <tuple>

#include "cuda/arch/ptx.cuh"
#include "cuda/launch.h"
#include "cuda/pooling.h"
#include "cuda/varlen_attention.h"
#include "primitives.h"

namespace mbert::cuda {
namespace {

struct ProbeArguments {
  const std::uint32_t* in;
  std::uint32_t* out;
};

template <class Probe>
__global__ void __launch_bounds__(Probe::kThreads)
    probe_kernel(const __grid_constant__ ProbeArguments arguments) {
  Ptx<MBERT_CUDA_CAPABILITY> machine;
  Probe::run(machine, arguments.in, arguments.out);
}

// Launch the probe if it has this name; return whether it has. *problem: an error, or empty.
template <class Probe>
bool launch_if(const std::string& name, const ProbeArguments& arguments, std::int64_t in_words,
               std::int64_t out_words, cudaStream_t stream, std::string* problem) {
  if (name != Probe::kName) return false;
  constexpr int kThreads = Probe::kGridX * Probe::kGridY * Probe::kThreads;
  if (in_words != kThreads * Probe::kIn || out_words != kThreads * Probe::kOut) {
    *problem = name + " needs " + std::to_string(kThreads * Probe::kIn) + " words and gives " +
               std::to_string(kThreads * Probe::kOut);
  } else if constexpr (Probe::kCapability > MBERT_CUDA_CAPABILITY) {
    *problem = name + " needs compute capability " + std::to_string(Probe::kCapability);
  } else {
    const LaunchShape shape = {Probe::kGridX, Probe::kGridY, Probe::kThreads, Probe::kSharedBytes};
    const cudaError_t error = launch_kernel(probe_kernel<Probe>, shape, arguments, stream);
    if (error != cudaSuccess) *problem = cudaGetErrorString(error);
  }
  return true;
}

template <class... Probe>
std::string launch_probe(std::tuple<Probe...>, const std::string& name,
                         const ProbeArguments& arguments, std::int64_t in_words,
                         std::int64_t out_words, cudaStream_t stream) {
  std::string problem;
  const bool known =
      (launch_if<Probe>(name, arguments, in_words, out_words, stream, &problem) || ...);
  return known ? problem : "no probe is named '" + name + "'";
}

template <class Params>
std::string launch_valid(const Params& params, cudaStream_t stream) {
  const std::string problem = validate(params);
  if (!problem.empty()) return problem;
  const cudaError_t error = launch(params, stream);
  return error == cudaSuccess ? std::string() : cudaGetErrorString(error);
}

void report(const std::string& problem, char* error, std::int64_t size) {
  std::snprintf(error, static_cast<std::size_t>(size), "%s", problem.c_str());
}

}  // namespace
}  // namespace mbert::cuda

// Each function writes an error message into error[size], empty on success.
#define MBERT_API extern "C" __attribute__((visibility("default")))

MBERT_API void mbert_gpu_probe(const char* name, const std::uint32_t* in, std::int64_t in_words,
                               std::uint32_t* out, std::int64_t out_words, cudaStream_t stream,
                               char* error, std::int64_t size) {
  using namespace mbert::cuda;
  report(launch_probe(Probes{}, name, {in, out}, in_words, out_words, stream), error, size);
}

// type: 0 float32, 1 float16, 2 bfloat16; in_workspace: whether keys are rotated in the workspace.
MBERT_API void mbert_gpu_attention(std::int32_t type, const void* qkv, std::int64_t tokens,
                                   const std::int32_t* cu_seqlens, std::int64_t sequences,
                                   const float* rope, std::int64_t max_position,
                                   std::int64_t num_heads, std::int64_t head_dim, float scale,
                                   std::int64_t window, void* context, std::int32_t in_workspace,
                                   void* workspace, cudaStream_t stream, char* error,
                                   std::int64_t size) {
  using namespace mbert::cuda;
  VarlenAttentionParams params;
  params.type = static_cast<ElementType>(type);
  params.qkv = qkv;
  params.tokens = tokens;
  params.cu_seqlens = cu_seqlens;
  params.sequences = sequences;
  params.rope = rope;
  params.max_position = max_position;
  params.num_heads = num_heads;
  params.head_dim = head_dim;
  params.scale = scale;
  params.window = window;
  params.context = context;
  params.rotation = in_workspace ? KeyRotation::kWorkspace : KeyRotation::kFused;
  params.workspace = workspace;
  report(launch_valid(params, stream), error, size);
}

// Whether the library prefers to rotate keys in a workspace, where neither was timed.
MBERT_API std::int32_t mbert_gpu_prefers_workspace(std::int64_t window) {
  return mbert::cuda::preferred_rotation(window) == mbert::cuda::KeyRotation::kWorkspace;
}

MBERT_API void mbert_gpu_pooling(std::int32_t type, const void* hidden, std::int64_t tokens,
                                 std::int64_t columns, const std::int32_t* cu_seqlens,
                                 std::int64_t sequences, std::int64_t mode, void* pooled,
                                 cudaStream_t stream, char* error, std::int64_t size) {
  using namespace mbert::cuda;
  VarlenPoolingParams params;
  params.type = static_cast<ElementType>(type);
  params.hidden = hidden;
  params.tokens = tokens;
  params.columns = columns;
  params.cu_seqlens = cu_seqlens;
  params.sequences = sequences;
  params.pooled = pooled;
  const std::string problem = parse_pooling_mode(mode, &params.mode);
  report(problem.empty() ? launch_valid(params, stream) : problem, error, size);
}
