"""The GPU bench's checks, on kernels that are right or have one mistake.

mbert's PyTorch references on the CPU replace the CUDA kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mbert.bench.gpu import correctness, encoder, primitives
from mbert.bench.gpu.results import Check
from mbert.bench.random_checkpoint import SHAPES
from mbert.bench.roofline import Shape, layer_operators
from mbert.errors import BackendError
from mbert.model.families.modernbert import Encoder
from mbert.model.families.modernbert_config import ModelConfig
from mbert.plugins.operators import POOLING_MODES
from support.cases import Case
from support.stand_in_kernels import Changed, ReferenceKernels, context

CASE = Case((130, 0, 1, 257), slack=5, num_heads=3, window=64)


def check_cases(kernels: Any, dtype: str = "float16") -> list[Check]:
    return list(correctness.check_case(context(kernels), CASE, dtype))


def behaviour(kernels: Any) -> dict[str, Check]:
    found = correctness.check_behaviour(context(kernels, sm=75))
    return {check.name: check for check in found}


class Graph:
    """A CUDA graph on the CPU: a replay writes to the captured output."""

    def __init__(self, program: Callable[[], Any], calls: int) -> None:
        assert calls == 1
        program()  # warms up
        self._program = program
        self._output = program()

    def __call__(self) -> None:
        self._output.copy_(self._program())


class OfTheCapture(Graph):
    """A graph that replays the captured values: a mistake."""

    def __call__(self) -> None:
        self._output.copy_(self._captured)

    def __init__(self, program: Callable[[], Any], calls: int) -> None:
        super().__init__(program, calls)
        self._captured = self._output.clone()


@pytest.fixture(autouse=True)
def _graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correctness, "in_graph", Graph)


def problems(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if check.problem is not None]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_right_kernels_pass(dtype: str) -> None:
    checks = check_cases(ReferenceKernels(), dtype)
    assert [check.name.split()[1] for check in checks] == ["fused", "workspace", "same"]
    assert not problems(checks)
    assert all(check.error <= check.allowed for check in checks[:2])


def window_off_by_one(
    run: Any, qkv: Any, cu: Any, rope: Any, h: Any, s: Any, w: int, *_: Any
) -> Any:
    return run(qkv, cu, rope, h, s, w + 1)


def wrong_scale(run: Any, qkv: Any, cu: Any, rope: Any, h: Any, s: float, *rest: Any) -> Any:
    return run(qkv, cu, rope, h, s * 1.05, *rest)


def not_a_number(run: Any, *arguments: Any) -> Tensor:
    context_rows: Tensor = run(*arguments)
    return context_rows.index_fill(0, torch.tensor([3]), float("nan"))


@pytest.mark.parametrize("change", [window_off_by_one, wrong_scale, not_a_number])
def test_wrong_kernels_fail(change: Callable[..., Tensor]) -> None:
    assert len(problems(check_cases(Changed(change)))) >= 2


def one_bit(run: Any, qkv: Tensor, *rest: Any) -> Tensor:
    out: Tensor = run(qkv, *rest)
    if rest[-1]:
        out = out.clone()
        out.view(torch.int16)[7, 7] ^= 1
    return out


def test_variants_that_differ_in_a_bit_fail() -> None:
    assert problems(check_cases(Changed(one_bit))) == [f"float16 same bits {CASE.id}"]


def test_refusal_is_reported_as_it_is() -> None:
    def refuse(run: Any, *arguments: Any) -> Tensor:
        raise BackendError("no kernel image")

    checks = check_cases(Changed(refuse))
    assert [check.problem for check in checks] == ["no kernel image"] * 2


def test_behaviour_of_right_kernels() -> None:
    checks = behaviour(ReferenceKernels())
    assert len(checks) == 9
    assert not problems(list(checks.values()))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_graphs_that_keep_what_they_were_captured_with_fail(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correctness, "in_graph", OfTheCapture)
    checks = behaviour(ReferenceKernels())
    assert "values differ" in str(checks[f"{dtype} replays on new contents"].problem)


def spread(run: Any, qkv: Tensor, *rest: Any) -> Tensor:
    out: Tensor = run(qkv, *rest)
    return out + 0 * qkv.sum()


def depends_on_batch(run: Any, qkv: Tensor, *rest: Any) -> Tensor:
    out: Tensor = run(qkv, *rest)
    return out * (1 + qkv.shape[0] / 1000)


def dirty_slack(run: Any, qkv: Tensor, cu: Tensor, *rest: Any) -> Tensor:
    out: Tensor = run(qkv, cu, *rest).clone()
    out[int(cu[-1]) :] = 1
    return out


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (spread, "keeps NaN apart"),
        (depends_on_batch, "independent of the batch"),
        (dirty_slack, "independent of the batch"),
    ],
)
def test_behaviour_of_wrong_kernels(change: Callable[..., Tensor], check: str) -> None:
    checks = behaviour(Changed(change))
    assert checks[f"float16 {check}"].problem
    assert checks[f"float32 {check}"].problem


def test_pooling() -> None:
    checks = list(correctness.check_pooling(context(ReferenceKernels())))
    assert len(checks) == 3 * 3 * len(POOLING_MODES)
    assert not problems(checks)

    class Neighbour(ReferenceKernels):
        def pooling(self, hidden: Tensor, cu_seqlens: Tensor, mode: str) -> Tensor:
            return super().pooling(hidden.roll(1, 0), cu_seqlens, mode)

    wrong = list(correctness.check_pooling(context(Neighbour())))
    assert len(problems(wrong)) == len(wrong)


def test_cases_are_left_out_and_named_when_the_time_is_up() -> None:
    findings = correctness.run(context(ReferenceKernels(), 75, seconds=0))
    assert f"float16 {CASE.id}: left out, the time was up" in findings.notes
    assert not any(CASE.id in check.name for check in findings.checks)


def test_primitives_of_a_card_that_does_nothing_fail() -> None:
    class Silent(ReferenceKernels):
        def probe(self, name: str, words: Any, outputs: int) -> Any:
            return (
                torch.full((words.shape[0], outputs), 7, dtype=torch.int32).numpy().view("uint32")
            )

    ampere, turing = (primitives.run(context(Silent(), sm)).checks for sm in (80, 75))
    assert all(check.problem for check in ampere)
    assert len(turing) < len(ampere)


@pytest.fixture(scope="module")
def small() -> Encoder:
    torch.manual_seed(0)
    shape = {**SHAPES["tiny"], "num_hidden_layers": 4}
    return Encoder(ModelConfig.from_dict({"model_type": "modernbert", **shape})).eval()


@torch.no_grad()
def test_encoder_is_held_against_float64(small: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "CHECKED_LENGTHS", (90, 1))
    right = encoder.check_encoder(context(ReferenceKernels()), small)
    assert right.problem is None
    assert 0 < right.error <= right.allowed
    wrong = encoder.check_encoder(context(Changed(wrong_window)), small)
    assert wrong.problem is not None


def wrong_window(run: Any, qkv: Any, cu: Any, rope: Any, h: Any, s: Any, w: int, *_: Any) -> Any:
    return run(qkv, cu, rope, h, s, w if w < 0 else w // 2)


@torch.no_grad()
@pytest.mark.parametrize("layer", [1, 3])
def test_parts_of_the_encoder_are_those_of_the_roofline_model(small: Encoder, layer: int) -> None:
    half = encoder.to_half(small, "cpu")
    found = encoder.parts(context(ReferenceKernels()), half, layer, [40, 30])
    operators = layer_operators(Shape.of_config(SHAPES["tiny"]), layer, [40, 30], 2)
    names = {operator.name for operator in operators} - {"rotate keys"}
    assert found.keys() == names
    assert names <= dict(encoder.predict_parts(context(ReferenceKernels()), [40, 30])).keys()
    for program in found.values():
        assert program().shape[0] == 70
