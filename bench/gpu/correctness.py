"""Check the kernels on the GPU against float64, on the cases of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbert.errors import BackendError
from mbert.plugins.operators import POOLING_MODES

from .checkout import support
from .context import Context
from .results import Check, Findings, check, compare
from .timing import in_graph

HEAD_DIMS = (32, 64, 128)
ROTATIONS = {"fused": False, "workspace": True}
POOLING_COLUMNS = (64, 768, 1000)


def run(context: Context) -> Findings:
    """Check attention in each type and with both key rotations, and pooling."""
    findings = Findings([*check_behaviour(context), *check_pooling(context)])
    _check_cases(context, findings)
    return findings


def _check_cases(context: Context, findings: Findings) -> None:
    cases = support(context.checkout, "cases")
    chosen = [case for case in cases.CASES if case.head_dim in HEAD_DIMS]
    if not context.quick:
        chosen += cases.LONG_CASES
    # Long cases last, as the time may run out.
    for case in chosen:
        for dtype in context.dtypes:
            if context.late:
                findings.notes.append(f"{dtype} {case.id}: left out, the time was up")
            else:
                findings.checks.extend(check_case(context, case, dtype))


def check_case(context: Context, case: Any, dtype: str) -> Iterator[Check]:
    """Compare both variants of the kernel with float64, and bit by bit.

    Args:
        context: has the kernels to check.
        case: a :class:`support.cases.Case`.
        dtype: "float32", "float16" or "bfloat16".
    """
    inputs = rounded(case.inputs(), dtype)
    judged = support(context.checkout, "attention").measure(case, inputs, dtype)
    outputs = {}
    for rotation, in_workspace in ROTATIONS.items():
        name = f"{dtype} {rotation} {case.id}"
        try:
            output = attend(context, case, inputs, dtype, in_workspace)
        except BackendError as error:
            yield Check(name, str(error))
            continue
        outputs[rotation] = output
        found = largest(output.double().cpu().numpy() - judged.exact)
        yield compare(name, found, judged.tolerance)
    if len(outputs) == len(ROTATIONS):
        yield check(f"{dtype} same bits {case.id}", partial(assert_same_bits, *outputs.values()))


def check_behaviour(context: Context) -> Iterator[Check]:
    """Check bit-identity, NaN, hostile offsets, CUDA graphs and refusals."""
    case_of = support(context.checkout, "cases").Case
    for dtype in context.dtypes:
        for what, holds in (
            ("independent of the batch", _alone),
            ("keeps NaN apart", _not_finite),
            ("takes hostile offsets", _hostile_offsets),
            ("replays on new contents", _replayed),
        ):
            yield check(f"{dtype} {what}", partial(holds, context, case_of, dtype))
    yield check("refuses other head sizes", partial(_other_head_size, context, case_of))


def _alone(context: Context, case_of: Any, dtype: str) -> None:
    """Raise unless each sequence gives the same bits in a batch and alone."""
    for window in (-1, 64):
        batch = case_of((130, 0, 1, 257, 64), slack=5, num_heads=3, window=window)
        inputs = rounded(batch.inputs(), dtype)
        for in_workspace in ROTATIONS.values():
            together = attend(context, batch, inputs, dtype, in_workspace)
            assert not together[sum(batch.lengths) :].any(), "slack rows are not zeros"
            begin = 0
            for length in batch.lengths:
                part = {
                    **inputs,
                    "qkv": inputs["qkv"][begin : begin + length],
                    "cu_seqlens": np.array([0, length], np.int32),
                }
                alone = attend(context, batch, part, dtype, in_workspace)
                assert_same_bits(together[begin : begin + length], alone)
                begin += length


def _not_finite(context: Context, case_of: Any, dtype: str) -> None:
    """Raise if a NaN reaches another sequence."""
    for window in (-1, 64):
        case = case_of((70, 80), window=window)
        inputs = rounded(case.inputs(), dtype)
        clean = attend(context, case, inputs, dtype, False)
        inputs["qkv"][:70] = np.nan
        for in_workspace in ROTATIONS.values():
            assert_same_bits(attend(context, case, inputs, dtype, in_workspace)[70:], clean[70:])


def _hostile_offsets(context: Context, case_of: Any, dtype: str) -> None:
    """Run invalid offsets: an access outside the arrays would raise a CUDA error."""
    case = case_of((100, 100), window=64)
    inputs = rounded(case.inputs(), dtype)
    for offsets in ([5, 3, 200], [0, -7, 200], [0, 2**31 - 1, 2**31 - 1], [0, 150, 20]):
        inputs["cu_seqlens"] = np.array(offsets, np.int32)
        for in_workspace in ROTATIONS.values():
            # Copying waits for the kernel.
            attend(context, case, inputs, dtype, in_workspace).cpu()


def _replayed(context: Context, case_of: Any, dtype: str) -> None:
    """Raise unless a replayed CUDA graph reads its buffers' new contents."""
    for window in (-1, 64):
        captured = case_of((130, 0, 70, 57), slack=5, num_heads=3, window=window)
        replayed = case_of((3, 200, 1, 40), slack=18, num_heads=3, window=window)
        inputs, others = (
            tensors(context, rounded(case.inputs(seed), dtype), dtype)
            for seed, case in enumerate((captured, replayed))
        )
        # The table of the longer sequence serves both.
        inputs["rope"] = others["rope"]
        for in_workspace in ROTATIONS.values():
            buffers = {name: tensor.clone() for name, tensor in inputs.items()}
            outputs: list[Tensor] = []

            def program() -> Tensor:
                outputs.append(compute(context, captured, buffers, in_workspace))  # noqa: B023
                return outputs[-1]  # noqa: B023

            replay = in_graph(program, 1)
            output = outputs[-1]
            for name, tensor in others.items():
                buffers[name].copy_(tensor)
            output.fill_(float("nan"))
            replay()
            assert_same_bits(output, compute(context, replayed, others, in_workspace))


def _other_head_size(context: Context, case_of: Any) -> None:
    case = case_of((70,), head_dim=48)
    try:
        attend(context, case, case.inputs(), "float32", False)
    except BackendError:
        return
    raise AssertionError("head_dim 48 was computed; an error was expected")


def check_pooling(context: Context) -> Iterator[Check]:
    """Compare pooling with float64, in each type and mode; one sequence is empty."""
    pooled_by_oracle = support(context.checkout, "pooling").pooled
    offsets = np.cumsum([0, 5, 0, 1, 1000, 64], dtype=np.int32)
    generator = np.random.default_rng(0)
    for dtype in context.dtypes:
        for columns in POOLING_COLUMNS:
            hidden = generator.standard_normal((offsets[-1] + 3, columns)).astype(np.float32)
            given = torch.from_numpy(hidden).to(getattr(torch, dtype))
            for mode in POOLING_MODES:
                pooled = context.kernels.pooling(
                    given.to(context.device),
                    torch.from_numpy(offsets).to(context.device),
                    mode,
                )
                exact = pooled_by_oracle(
                    {"hidden": given.double().numpy(), "cu_seqlens": offsets}, mode
                )
                # Float32 sums of terms that cancel, and one rounding to the type.
                allowed = 2 * float(np.abs(exact).max()) * torch.finfo(given.dtype).eps
                name = f"{dtype} pooling {mode}, {columns} columns"
                yield compare(name, largest(pooled.double().cpu().numpy() - exact), allowed)


def attend(
    context: Context, case: Any, inputs: dict[str, NDArray[Any]], dtype: str, in_workspace: bool
) -> Tensor:
    """Run the kernel on a case's inputs."""
    return compute(context, case, tensors(context, inputs, dtype), in_workspace)


def tensors(context: Context, inputs: dict[str, NDArray[Any]], dtype: str) -> dict[str, Tensor]:
    """Return the inputs as tensors on the device, qkv in the given type."""
    found = {
        name: torch.from_numpy(np.ascontiguousarray(array)).to(context.device)
        for name, array in inputs.items()
    }
    return {**found, "qkv": found["qkv"].to(getattr(torch, dtype))}


def compute(context: Context, case: Any, given: dict[str, Tensor], in_workspace: bool) -> Tensor:
    """Run the kernel on tensors, with a case's attributes."""
    return context.kernels.attention(
        given["qkv"],
        given["cu_seqlens"],
        given["rope"],
        case.num_heads,
        case.scale,
        case.window,
        in_workspace,
    )


def rounded(inputs: dict[str, NDArray[Any]], dtype: str) -> dict[str, NDArray[Any]]:
    """Return the inputs with qkv rounded to the type, as float32."""
    qkv = torch.from_numpy(inputs["qkv"]).to(getattr(torch, dtype)).float().numpy()
    return {**inputs, "qkv": qkv}


def largest(difference: NDArray[Any]) -> float:
    """Return the largest absolute value, 0 for an empty array."""
    return float(np.abs(difference).max()) if difference.size else 0.0


def assert_same_bits(one: Tensor, other: Tensor) -> None:
    """Raise unless two tensors are equal bit by bit."""
    integers = torch.int32 if one.dtype == torch.float32 else torch.int16
    different = (one.view(integers) != other.view(integers)).sum().item()
    assert not different, f"{different} of {one.numel()} values differ"
