"""Check and time the packed encoder of base on mbert's attention kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from mbert.model.families import modernbert as model
from mbert.model.families.modernbert_config import ModelConfig
from mbert.model.operators.attention import varlen_attention

from ..predict import predict_lengths
from ..random_checkpoint import SHAPES
from ..roofline import Assumptions, Shape, cost, layer_operators
from ..workloads import WORKLOADS
from .card import target_of
from .context import Context
from .peers import Attend, flash, make_workload
from .results import Check, Findings, compare, in_words
from .timing import Program, gpu_turn, graph_timings, time_in_turns

SHAPE = "base"
PRECISION, DTYPE = "fp16", torch.float16
NAMES = ("W1-16", "W1-128", "W2", "W3", "W4-2048", "W4-8192")
QUICK_NAMES = ("W1-128", "W2")
ROUNDS = 20
QUICK_ROUNDS = 5
# Short: float64 runs on the CPU.
CHECKED_LENGTHS = (130, 1, 64, 200)
# The tolerance of reduced precision: this many times PyTorch's own error.
FACTOR = 2.0
LOWEST_ID, HIGHEST_ID = 5, 50_000

# The inputs and attributes of VarlenAttention: qkv, cu_seqlens, rope, num_heads, scale, window.
Operator = Callable[[Tensor, Tensor, Tensor, int, float, int], Tensor]

NOTES = (
    "float16, random weights, PyTorch's own projections and norms around mbert's attention; "
    "microseconds of one call, from replays of CUDA graphs",
    "the parts run one by one, over and over, so that what fits is in the L2 cache; PyTorch sums "
    "and norms in two kernels, and computes GeGLU in two or three",
    "predicted: by the roofline model of docs/gpu-performance.md, from the card's data sheet",
)


def run(context: Context) -> Findings:
    """Check the encoder against float64; time it as a whole and in parts."""
    config = ModelConfig.from_dict({"model_type": "modernbert", **SHAPES[SHAPE]})
    torch.manual_seed(0)
    encoder = model.Encoder(config).eval()
    findings = Findings(notes=list(NOTES))
    with torch.no_grad():
        findings.checks.append(check_encoder(context, encoder))
        encoder = to_half(encoder, context.device)
        for name in QUICK_NAMES if context.quick else NAMES:
            if context.late:
                findings.notes.append(f"{name}: left out, the time was up")
                continue
            torch.compiler.reset()  # compiled for the shapes of one workload
            _time_whole(context, encoder, config, name, findings)
            _time_parts(context, encoder, name, findings)
            torch.cuda.empty_cache()
    return findings


def check_encoder(context: Context, encoder: model.Encoder) -> Check:
    """Compare the error against float64 with that of the operator's reference."""
    ids, offsets = packed(CHECKED_LENGTHS)
    # The same weights for all, rounded to float16.
    exact = to_half(encoder, "cpu").double()(ids, offsets)
    half = to_half(encoder, context.device)
    errors = []
    for attend in (context.kernels.attention, _reference):
        with mock.patch.object(model, "varlen_attention", attend):
            hidden = half(ids.to(context.device), offsets.to(context.device))
        errors.append(float((hidden.double().cpu() - exact).abs().max()))
    return compare("encoder in float16 against float64", errors[0], FACTOR * errors[1])


def _reference(qkv: Tensor, cu_seqlens: Tensor, rope: Tensor, *attributes: Any) -> Tensor:
    on_host: Tensor = varlen_attention(qkv.cpu(), cu_seqlens.cpu(), rope.cpu(), *attributes)
    return on_host.to(qkv.device)


def to_half(encoder: model.Encoder, device: str) -> model.Encoder:
    """Move the encoder; weights become float16, rotary tables stay float32."""
    encoder = encoder.to(device)
    for parameter in encoder.parameters():
        parameter.data = parameter.data.to(DTYPE)
    for name, table in encoder.named_buffers():
        encoder.get_buffer(name).data = table.data.float()
    return encoder


def packed(lengths: tuple[int, ...] | list[int]) -> tuple[Tensor, Tensor]:
    """Return random ids, int32 [tokens], and offsets, int32 [sequences + 1]."""
    generator = np.random.default_rng(0)
    ids = generator.integers(LOWEST_ID, HIGHEST_ID, sum(lengths), dtype=np.int32)
    return torch.from_numpy(ids), torch.tensor([0, *lengths]).cumsum(0).int()


def _time_whole(
    context: Context, encoder: model.Encoder, config: ModelConfig, name: str, findings: Findings
) -> None:
    lengths = WORKLOADS[name].lengths
    ids, offsets = (x.to(context.device) for x in packed(lengths))
    attends: dict[str, Operator] = {"mbert": context.kernels.attention}
    try:
        attends["flash"] = flash_operator(context, config, lengths)
    except Exception as error:
        findings.notes.append(f"{name}: no encoder on PyTorch's flash attention: {in_words(error)}")

    programs = {who: On(attend, partial(encoder, ids, offsets)) for who, attend in attends.items()}
    rounds = QUICK_ROUNDS if context.quick else ROUNDS
    calls = time_in_turns(programs, turn_on_operator, rounds)
    replays, reasons = graph_timings(programs, rounds, calls=1)
    findings.notes.extend(f"{name}: no CUDA graph of {who}: {why}" for who, why in reasons.items())
    predicted = predict_whole(context, name)
    for who in programs:
        replay = replays.get(who)
        findings.times.append(
            {
                "workload": name,
                "tokens": len(ids),
                "part": f"encoder on {who}",
                "call": asdict(calls[who]),
                "replay": None if replay is None else asdict(replay),
                "predicted": predicted,
            }
        )


@dataclass(frozen=True)
class On:
    """A program of the model, with another attention operator."""

    attend: Operator
    program: Program

    def __call__(self) -> object:
        """Run it once."""
        with self.patched():
            return self.program()

    def patched(self) -> AbstractContextManager[object]:
        """Return a context in which the model has the operator."""
        return mock.patch.object(model, "varlen_attention", self.attend)


def turn_on_operator(program: Program, calls: int) -> float:
    """Time calls of an :class:`On`, without the time of patching."""
    assert isinstance(program, On)
    with program.patched():
        return gpu_turn(program.program, calls)


def flash_operator(context: Context, config: ModelConfig, lengths: list[int]) -> Operator:
    """PyTorch's flash attention in the operator's place, for these lengths alone."""
    by_window: dict[int, Attend] = {}
    for window in {layer.window for layer in config.layers}:
        work = make_workload(
            lengths, config.num_attention_heads, config.head_dim, window, DTYPE, context.device
        )
        by_window[window] = flash(work)
        by_window[window](work.qkv)  # compiles, before the clock runs

    def attend(
        qkv: Tensor, cu_seqlens: Tensor, rope: Tensor, num_heads: int, scale: float, window: int
    ) -> Tensor:
        return by_window[window](qkv)

    return attend


def predict_whole(context: Context, name: str) -> float | None:
    """Return seconds by the roofline model; None if the GPU is no known target."""
    target = target_of(context.card, context.sm)
    if target is None or target.figures is None:
        return None
    shape = Shape.of_config(SHAPES[SHAPE])
    lengths = WORKLOADS[name].lengths
    return predict_lengths(name, lengths, shape, target.figures, PRECISION, Assumptions()).seconds


def _time_parts(context: Context, encoder: model.Encoder, name: str, findings: Findings) -> None:
    lengths = WORKLOADS[name].lengths
    predicted = dict(predict_parts(context, lengths))
    programs = {
        part: program
        for layer in (3, 1)  # a global layer with all norms, and a windowed one
        for part, program in parts(context, encoder, layer, lengths).items()
    }
    replays, reasons = graph_timings(programs, QUICK_ROUNDS if context.quick else ROUNDS)
    findings.notes.extend(f"{name}: no CUDA graph of {who}: {why}" for who, why in reasons.items())
    for part in programs:
        replay = replays.get(part)
        findings.times.append(
            {
                "workload": name,
                "tokens": sum(lengths),
                "part": part,
                "call": None,
                "replay": None if replay is None else asdict(replay),
                "predicted": predicted.get(part),
            }
        )


def predict_parts(context: Context, lengths: list[int]) -> Iterator[tuple[str, float]]:
    """Yield seconds by the roofline model, by the names of :func:`parts`."""
    target = target_of(context.card, context.sm)
    if target is None or target.figures is None:
        return
    shape = Shape.of_config(SHAPES[SHAPE])
    rotation = 0.0
    for layer in (1, 3):
        for operator in layer_operators(shape, layer, lengths, DTYPE.itemsize):
            seconds = cost(operator, target.figures, PRECISION, Assumptions()).seconds
            if operator.name == "rotate keys":
                rotation = seconds  # one launch does both
            elif operator.name == "attention, global":
                yield operator.name, seconds + rotation
            else:
                yield operator.name, seconds


def parts(
    context: Context, encoder: model.Encoder, layer_index: int, lengths: list[int]
) -> dict[str, Program]:
    """Return a layer's operators on separate inputs, by the roofline model's names."""
    layer = encoder.layers[layer_index]
    assert isinstance(layer, model.Layer)
    attention, mlp = layer.attn, layer.mlp
    rope = encoder.get_buffer(f"rope_{encoder.table_of_layer[layer_index]}")
    hidden = attention.Wo.in_features
    widths = (hidden, hidden, 3 * hidden, mlp.Wi.out_features, mlp.Wo.in_features)
    generator = torch.Generator().manual_seed(0)
    x, update, qkv, wide, gated = (
        torch.randn(sum(lengths), width, generator=generator).to(context.device, DTYPE)
        for width in widths
    )
    offsets = packed(lengths)[1].to(context.device)
    window = attention.window
    kind = "attention, global" if window < 0 else f"attention, window {window}"

    def geglu() -> Tensor:
        value, gate = wide.chunk(2, dim=-1)
        return mlp.activation(value) * gate

    return {
        "Wqkv": lambda: attention.Wqkv(x),
        kind: lambda: context.kernels.attention(
            qkv, offsets, rope, attention.num_heads, attention.scale, window
        ),
        "Wo": lambda: attention.Wo(x),
        "add + norm": lambda: layer.mlp_norm(x + update),
        "Wi": lambda: mlp.Wi(x),
        "GeGLU": geglu,
        "MLP Wo": lambda: mlp.Wo(gated),
    }
