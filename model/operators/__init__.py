"""mbert's operators in PyTorch: the reference that every kernel is tested against.

Importing this package registers them as ``torch.ops.mbert.*``, so that tracing keeps each as one
node. float64 inputs are computed in float64; other types accumulate in float32, like the kernels.
"""

from . import attention, linear, pooling, quantized_linear

__all__ = ["attention", "linear", "pooling", "quantized_linear"]
