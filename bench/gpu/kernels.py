"""Call the compiled kernels on PyTorch's tensors and streams."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbert.errors import BackendError
from mbert.plugins.operators import POOLING_MODES

# In the order of plugins/cuda/types.h.
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_ERROR_BYTES = 4096


class Kernels:
    """The functions of kernels.cu; launches go to PyTorch's current stream."""

    def __init__(self, library: Path) -> None:
        """Load a library that :func:`mbert.bench.gpu.build.build` made."""
        self._library = ctypes.CDLL(str(library))
        for name in ("probe", "attention", "pooling"):
            getattr(self._library, f"mbert_gpu_{name}").restype = None
        self._library.mbert_gpu_prefers_workspace.restype = ctypes.c_int32

    def attention(
        self,
        qkv: Tensor,
        cu_seqlens: Tensor,
        rope: Tensor,
        num_heads: int,
        scale: float,
        window: int,
        in_workspace: bool | None = None,
    ) -> Tensor:
        """Compute VarlenAttention.

        The arguments are those of :func:`mbert.model.operators.attention.varlen_attention`.

        Args:
            qkv: on the GPU, like all tensors; float32, float16 or bfloat16.
            cu_seqlens: int32.
            rope: float32.
            num_heads: attention heads.
            scale: factor of the scores.
            window: -1 or the number of keys on each side.
            in_workspace: True: rotate keys once, into a workspace; False: where they are used;
                None: the library's preference.

        Raises:
            BackendError: the library refuses the arguments, or the launch fails.
        """
        if in_workspace is None:
            in_workspace = self.prefers_workspace(window)
        tokens, head_dim = qkv.shape[0], rope.shape[1]
        context = qkv.new_empty(tokens, num_heads * head_dim)
        workspace = torch.empty_like(context) if in_workspace else None
        self._call(
            "attention",
            ctypes.c_int32(DTYPES.index(qkv.dtype)),
            _pointer(qkv),
            ctypes.c_int64(tokens),
            _pointer(cu_seqlens),
            ctypes.c_int64(cu_seqlens.shape[0] - 1),
            _pointer(rope),
            ctypes.c_int64(rope.shape[0]),
            ctypes.c_int64(num_heads),
            ctypes.c_int64(head_dim),
            ctypes.c_float(scale),
            ctypes.c_int64(window),
            _pointer(context),
            ctypes.c_int32(in_workspace),
            None if workspace is None else _pointer(workspace),
        )
        return context

    def prefers_workspace(self, window: int) -> bool:
        """Return whether the library prefers to rotate keys in a workspace."""
        return bool(self._library.mbert_gpu_prefers_workspace(ctypes.c_int64(window)))

    def pooling(self, hidden: Tensor, cu_seqlens: Tensor, mode: str) -> Tensor:
        """Compute :func:`mbert.model.operators.pooling.varlen_pooling`."""
        sequences = cu_seqlens.shape[0] - 1
        pooled = hidden.new_empty(sequences, hidden.shape[1])
        self._call(
            "pooling",
            ctypes.c_int32(DTYPES.index(hidden.dtype)),
            _pointer(hidden),
            ctypes.c_int64(hidden.shape[0]),
            ctypes.c_int64(hidden.shape[1]),
            _pointer(cu_seqlens),
            ctypes.c_int64(sequences),
            ctypes.c_int64(POOLING_MODES[mode]),
            _pointer(pooled),
        )
        return pooled

    def probe(self, name: str, words: NDArray[np.uint32], outputs: int) -> NDArray[np.uint32]:
        """Run a probe of tests/plugins/cuda/primitives.h and wait for it.

        Args:
            name: the probe's ``kName``.
            words: uint32 [threads, inputs].
            outputs: words that each thread writes.

        Returns:
            uint32 [threads, outputs].
        """
        words = np.ascontiguousarray(words, np.uint32)
        given = torch.from_numpy(words.view(np.int32)).cuda()
        out = torch.zeros((words.shape[0], outputs), dtype=torch.int32, device="cuda")
        self._call(
            "probe",
            name.encode(),
            _pointer(given),
            ctypes.c_int64(given.numel()),
            _pointer(out),
            ctypes.c_int64(out.numel()),
        )
        return out.cpu().numpy().view(np.uint32)

    def _call(self, function: str, *arguments: Any) -> None:
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        getattr(self._library, f"mbert_gpu_{function}")(
            *arguments,
            ctypes.c_void_p(torch.cuda.current_stream().cuda_stream),
            error,
            ctypes.c_int64(_ERROR_BYTES),
        )
        if error.value:
            raise BackendError(f"The CUDA kernel {function!r} refuses: {error.value.decode()}.")


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    # The kernels take no strides.
    assert tensor.is_contiguous()
    return ctypes.c_void_p(tensor.data_ptr())
