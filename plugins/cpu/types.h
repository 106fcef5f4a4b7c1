// What the CPU kernels share in their public interfaces.
#ifndef MBERT_PLUGINS_CPU_TYPES_H_
#define MBERT_PLUGINS_CPU_TYPES_H_

#include <cstdint>
#include <functional>

#include "common/operator_types.h"

namespace mbert::cpu {

using mbert::ElementType;
using mbert::PoolingMode;

// Calls fn(0) ... fn(count - 1), in any order and on any threads, and returns when all are done.
// The kernels bring no threads of their own: a second pool beside the caller's would fight it for
// cores.
using ParallelFor =
    std::function<void(std::int64_t count, const std::function<void(std::int64_t)>& fn)>;

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_TYPES_H_
