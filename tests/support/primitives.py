"""Checks of the primitives of the CUDA kernels against the PTX manual.

Each check takes a probe, so that the emulator and a GPU pass the same ones. The tables give row and
column of the elements in each lane, as formulas of the lane; they share nothing with the emulator.
Needs numpy and torch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# Runs a probe of primitives.h, by name, on uint32 words [threads, inputs]; returns the given number
# of output words of each thread, [threads, outputs].
Probe = Callable[[str, NDArray[np.uint32], int], NDArray[np.uint32]]

LANES = range(32)

# PTX ISA, "Warp-Level Matrix Instructions", matrix fragments for mma.m16n8k16 and mma.m16n8k8 with
# 16-bit floats: groupID = lane >> 2, threadID_in_group = lane % 4. Lists of (row, column), one for
# each element, in the order of the registers.
A_K16 = [
    [
        (
            (lane >> 2) + (0 if i in (0, 1, 4, 5) else 8),
            (lane % 4) * 2 + (i & 1) + (8 if i >= 4 else 0),
        )
        for i in range(8)
    ]
    for lane in LANES
]
B_K16 = [
    [((lane % 4) * 2 + (i & 1) + (8 if i >= 2 else 0), lane >> 2) for i in range(4)]
    for lane in LANES
]
A_K8 = [
    [((lane >> 2) + (0 if i < 2 else 8), (lane % 4) * 2 + (i & 1)) for i in range(4)]
    for lane in LANES
]
B_K8 = [[((lane % 4) * 2 + i, lane >> 2) for i in range(2)] for lane in LANES]
ACCUMULATOR = [
    [((lane >> 2) + (0 if i < 2 else 8), (lane % 4) * 2 + (i & 1)) for i in range(4)]
    for lane in LANES
]
# ldmatrix: a lane gets two neighbours in a row of each 8 x 8 matrix; transposed, in a column.
LDMATRIX = [[(lane // 4, 2 * (lane % 4) + i) for i in range(2)] for lane in LANES]

MMA = {
    "mma_k16_float16": ("float16", A_K16, B_K16),
    "mma_k16_bfloat16": ("bfloat16", A_K16, B_K16),
    "mma_k8": ("float16", A_K8, B_K8),
}
# A few units in the last place of float32: tensor cores truncate. An accumulator of 16 bits would
# err a hundred times as much.
MMA_TOLERANCE = 5e-5

# Edge cases of rounding: ties, their neighbours, subnormals, overflow, values that are not finite.
FLOATS = np.array(
    [
        *(0.0, -0.0, 1.0, -2.5, 65504.0, 65519.0, 65520.0, 1e38, -1e38, 3.3895e38),
        *(1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-11 + 2**-20, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-9),
        *(6e-8, 2.0**-25, 2.0**-24, 1.5 * 2.0**-24, 2.0**-14 - 2.0**-25, 6.1e-5, 1e-30),
        *(np.inf, -np.inf, np.nan, np.pi, -np.e, 1e-3, 1234.5678, -0.1, 2.0**-15),
    ],
    np.float32,
)


def pairs(elements: NDArray[np.uint16]) -> NDArray[np.uint32]:
    """Pack elements [lanes, 2 n] into registers [lanes, n], the first in the low half."""
    wide = elements.astype(np.uint32)
    return wide[:, ::2] | wide[:, 1::2] << 16


def fragment(matrix: NDArray[Any], table: list[list[tuple[int, int]]]) -> NDArray[Any]:
    """Return the elements of a matrix in each lane, [lanes, elements]."""
    return np.array([[matrix[place] for place in lane] for lane in table])


def reduced(values: NDArray[Any], dtype: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(getattr(torch, dtype))


def multiply(
    probe: Probe, name: str, a: NDArray[Any], b: NDArray[Any], d: NDArray[Any]
) -> NDArray[np.float32]:
    """Return the accumulator's elements in each lane, [lanes, 4]."""
    dtype, a_table, b_table = MMA[name]
    a, b = (reduced(x, dtype).view(torch.int16).numpy().view(np.uint16) for x in (a, b))
    words = [
        pairs(fragment(a, a_table)),
        pairs(fragment(b, b_table)),
        fragment(d.astype(np.float32), ACCUMULATOR).view(np.uint32),
    ]
    return probe(name, np.concatenate(words, axis=1), 4).view(np.float32)


def mma_layout(name: str, probe: Probe) -> None:
    """Multiply numbered elements by a selecting matrix, and check their places."""
    depth = 16 if "k16" in name else 8
    zeros = np.zeros((16, 8))
    numbers = np.arange(16 * depth).reshape(16, depth)
    for first in range(0, depth, 8):
        out = multiply(probe, name, numbers, np.eye(depth)[:, first : first + 8], zeros)
        expected = fragment(numbers[:, first : first + 8], ACCUMULATOR)
        assert_equal(out, expected)
    numbers = np.arange(depth * 8).reshape(depth, 8)
    for first in range(0, depth, 8):
        select = np.zeros((16, depth))
        select[np.arange(8) + (8 - first), np.arange(8) + first] = 1
        expected = np.zeros((16, 8))
        expected[8 - first : 16 - first] = numbers[first : first + 8]
        assert_equal(multiply(probe, name, select, numbers, zeros), fragment(expected, ACCUMULATOR))
    numbers = np.arange(16 * 8).reshape(16, 8)
    out = multiply(probe, name, np.zeros((16, depth)), np.zeros((depth, 8)), numbers)
    assert_equal(out, fragment(numbers, ACCUMULATOR))


def mma_accumulates_in_float32(name: str, probe: Probe) -> None:
    generator = np.random.default_rng(0)
    depth = 16 if "k16" in name else 8
    dtype = MMA[name][0]
    a, b = (
        reduced(generator.standard_normal(shape), dtype).double().numpy()
        for shape in ((16, depth), (depth, 8))
    )
    d = generator.standard_normal((16, 8)).astype(np.float32)
    out = multiply(probe, name, a, b, d)
    assert_close(out, fragment(a @ b + d, ACCUMULATOR), atol=MMA_TOLERANCE)


def ldmatrix(name: str, probe: Probe) -> None:
    # Element n of shared memory has the value n; the rows of the four matrices are shuffled.
    contents = pairs(np.arange(256, dtype=np.uint16).reshape(32, 8))
    rows = np.random.default_rng(0).permutation(32)
    words = np.concatenate((rows[:, None] * 16, contents), axis=1)
    matrices = [rows[8 * j : 8 * j + 8, None] * 8 + np.arange(8) for j in range(4)]
    if name.endswith("trans"):
        matrices = [matrix.T for matrix in matrices]
    expected = [pairs(fragment(matrix, LDMATRIX).astype(np.uint16)) for matrix in matrices]
    assert_equal(probe(name, words, 4), np.concatenate(expected, axis=1))


def shuffle_xor(probe: Probe) -> None:
    for mask in (1, 2, 4, 8, 16, 31):
        words = np.stack((np.arange(32) + 100, np.full(32, mask)), axis=1)
        assert_equal(probe("shuffle_xor", words, 1)[:, 0], (np.arange(32) ^ mask) + 100)


def cp_async_fills_its_slot_with_bytes_or_zeros(probe: Probe) -> None:
    for seed in range(3):
        generator = np.random.default_rng(seed)
        words = np.zeros((64, 12), np.uint32)
        data = generator.integers(1, 2**32, (64, 2, 4), dtype=np.uint32)
        words[:, 4:] = data.reshape(64, 8)
        expected = np.zeros((64, 2, 4), np.uint32)
        for group in range(2):
            slots = generator.permutation(64)
            valid = generator.integers(0, 2, 64)
            words[:, 2 * group] = slots
            words[:, 2 * group + 1] = valid
            expected[slots, group] = data[:, group] * valid[:, None]
        assert_equal(probe("cp_async16", words, 8), expected.reshape(64, 8))


def shared_memory_passes_words_on(probe: Probe) -> None:
    words = np.random.default_rng(0).integers(0, 2**31, (128, 6), dtype=np.uint32)
    assert_equal(probe("shared", words, 6), words[(np.arange(128) + 33) % 128])


def global_memory_in_every_width(probe: Probe) -> None:
    words = np.random.default_rng(0).integers(0, 2**32, (32, 8), dtype=np.uint32)
    assert_equal(probe("global", words, 8), words)


def indices(probe: Probe) -> None:
    out = probe("indices", np.zeros((3 * 2 * 64, 0), np.uint32), 3)
    y, x, thread = np.mgrid[:2, :3, :64]
    assert_equal(out, np.stack((thread, x, y), axis=-1).reshape(-1, 3))


def conversions_round_to_nearest_even(dtype: str, probe: Probe) -> None:
    assert FLOATS.size == 32
    values = np.stack((FLOATS, FLOATS[::-1]), axis=1)
    out = probe(f"convert_{dtype}", values.view(np.uint32), 3)
    rounded = reduced(values, dtype).float().numpy()
    packed = np.stack((out[:, 0] & 0xFFFF, out[:, 0] >> 16), axis=1).astype(np.uint16)
    packed = torch.from_numpy(packed.view(np.int16)).view(getattr(torch, dtype)).float().numpy()
    assert_equal(packed, rounded)
    assert_equal(np.signbit(packed), np.signbit(values))
    assert_equal(out[:, 1:].view(np.float32), packed)


def exp2(probe: Probe) -> None:
    x = np.array([-np.inf, -200, -126, -10.5, -1, -0.5, -1e-6, 0, *np.linspace(0, 10, 24)])
    x = x.astype(np.float32)
    out = probe("exp2", x[:, None].view(np.uint32), 1).view(np.float32)[:, 0]
    # ex2.approx: within 2 units in the last place; subnormal results may be flushed.
    assert_close(out, np.exp2(x.astype(float)), rtol=2.0**-22, atol=2.0**-126)


def assert_equal(found: NDArray[Any], expected: NDArray[Any]) -> None:
    np.testing.assert_array_equal(found, expected)


def assert_close(
    found: NDArray[Any], expected: NDArray[Any], *, rtol: float = 0.0, atol: float
) -> None:
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


# Name, least compute capability, check; a check raises AssertionError.
CHECKS: tuple[tuple[str, int, Callable[[Probe], None]], ...] = (
    ("indices", 75, indices),
    ("global memory", 75, global_memory_in_every_width),
    ("shared memory", 75, shared_memory_passes_words_on),
    ("shuffle_xor", 75, shuffle_xor),
    *((name, 75, partial(ldmatrix, name)) for name in ("ldmatrix_x4", "ldmatrix_x4_trans")),
    ("cp_async16", 80, cp_async_fills_its_slot_with_bytes_or_zeros),
    *(
        (f"{name} {what}", 80 if "k16" in name else 75, partial(check, name))
        for name in MMA
        for what, check in (("layout", mma_layout), ("sums", mma_accumulates_in_float32))
    ),
    ("convert_float16", 75, partial(conversions_round_to_nearest_even, "float16")),
    ("convert_bfloat16", 80, partial(conversions_round_to_nearest_even, "bfloat16")),
    ("exp2", 75, exp2),
)
