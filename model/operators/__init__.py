"""mbert's operators in PyTorch: importing this package registers them as ``torch.ops.mbert.*``."""

from . import attention, linear, pooling, quantized_linear

__all__ = ["attention", "linear", "pooling", "quantized_linear"]
