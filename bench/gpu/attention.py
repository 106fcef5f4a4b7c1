"""Time the attention kernel and PyTorch's on the shapes of the workloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from ..roofline import WINDOW, attended_pairs
from ..workloads import WORKLOADS
from .context import Context
from .peers import Workload, make_workload, open_peers
from .results import Check, Findings, compare
from .timing import Program, gpu_turn, graph_timings, time_in_turns

# ModernBERT-base.
NUM_HEADS = 12
HEAD_DIM = 64
WINDOWS = (-1, WINDOW)
# Without W2s: it differs from W2 in padding alone, and packed tokens have none.
NAMES = ("W1-16", "W1-128", "W2", "W3", "W4-2048", "W4-8192", "W5-256", "W5-4096")
QUICK_NAMES = ("W1-128", "W2", "W4-2048")
ROUNDS = 30
QUICK_ROUNDS = 10
# Programs round to float16 in different places: about 10 roundings of the largest value.
AGREEMENT = 5e-3

NOTES = (
    "float16, 12 heads of 64, rotary step included on every side; microseconds of one call",
    "graph: replay of a CUDA graph, thus without the host; the peers' rotary step is fused by "
    "torch.compile; flex's block mask is not timed",
    "TFLOP/s: of the pairs that attend, by the best replay",
)


def run(context: Context) -> Findings:
    """Time each workload with global and with windowed attention."""
    findings = Findings(notes=list(NOTES))
    for name in QUICK_NAMES if context.quick else NAMES:
        for window in WINDOWS:
            if context.late:
                findings.notes.append(f"{name}, window {window}: left out, the time was up")
                continue
            torch.compiler.reset()  # or the next shape may be compiled with dynamic sizes
            work = make_workload(
                WORKLOADS[name].lengths, NUM_HEADS, HEAD_DIM, window, torch.float16, context.device
            )
            _measure(context, name, work, findings)
            del work
            torch.cuda.empty_cache()
    return findings


def _measure(context: Context, name: str, work: Workload, findings: Findings) -> None:
    peers, reasons = open_peers(work)
    findings.notes.extend(f"{name}: {reason}" for reason in reasons)
    programs = {**own_programs(context, work), **peers}
    findings.checks.extend(agreement(name, work.window, programs))
    rounds = QUICK_ROUNDS if context.quick else ROUNDS
    calls = time_in_turns(programs, gpu_turn, rounds)
    replays, reasons_for_graph = graph_timings(programs, rounds)
    findings.notes.extend(
        f"{name}, window {work.window}: no CUDA graph of {program}: {reason}"
        for program, reason in reasons_for_graph.items()
    )
    lengths = WORKLOADS[name].lengths
    flop = 4 * attended_pairs(lengths, work.window) * work.num_heads * work.head_dim
    for program in programs:
        replay = replays.get(program)
        findings.times.append(
            {
                "workload": name,
                "tokens": work.tokens,
                "window": work.window,
                "program": program,
                "call": asdict(calls[program]),
                "replay": None if replay is None else asdict(replay),
                "flop": flop,
            }
        )


def own_programs(context: Context, work: Workload) -> dict[str, Program]:
    """Return both variants of the kernel; a star marks the library's preferred one."""
    preferred = context.kernels.prefers_workspace(work.window)
    return {
        f"mbert {rotation}{'*' if in_workspace == preferred else ''}": partial(
            context.kernels.attention,
            work.qkv,
            work.cu_seqlens,
            work.rope,
            work.num_heads,
            work.scale,
            work.window,
            in_workspace,
        )
        for rotation, in_workspace in (("fused", False), ("workspace", True))
    }


def agreement(name: str, window: int, programs: dict[str, Any]) -> Sequence[Check]:
    """Compare the programs' outputs with the first one's: timings need equal work."""
    (_, ours), *others = programs.items()
    expected = ours().float()
    allowed = AGREEMENT * float(expected.abs().max())
    return [
        compare(
            f"{name}, window {window}: {other} agrees",
            float((program().float() - expected).abs().max()),
            allowed,
        )
        for other, program in others
    ]
