"""The record of a run, and its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .tables import microseconds, table

# Increase it when a field changes its meaning or is removed.
FORMAT_VERSION = 1


def make_record(
    card: Mapping[str, Any],
    versions: Mapping[str, str],
    quick: bool,
    steps: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Make a record for JSON; times are in seconds.

    Args:
        card: fields of :class:`mbert.bench.gpu.card.Card`.
        versions: of mbert and nvcc.
        quick: whether the run was the short one.
        steps: results of :func:`mbert.bench.gpu.steps.run_apart`, by name.
    """
    return {
        "format_version": FORMAT_VERSION,
        "kind": "measured",
        "card": dict(card),
        "versions": dict(versions),
        "quick": quick,
        "steps": dict(steps),
    }


def draw(record: Mapping[str, Any]) -> str:
    """Return a record's tables as text."""
    return "\n\n".join(_sections(record))


def _sections(record: Mapping[str, Any]) -> Iterator[str]:
    card, versions = record["card"], record["versions"]
    yield "\n".join(
        (
            f"{card['name']} (sm_{card['sm']}, {card['multiprocessors']} multiprocessors, "
            f"{card['memory_bytes'] / 1e9:.0f} GB), driver {card['driver'] or 'unknown'}",
            f"clocks (SM, most, memory), power limit: {card['clocks'] or 'unknown'}",
            f"PyTorch {card['torch']} (CUDA {card['torch_cuda']}), nvcc {versions['nvcc']}, "
            f"mbert {versions['mbert']}, Python {card['python']}, {card['system']}",
        )
    )
    yield _steps(record["steps"])
    for name, step in record["steps"].items():
        if "error" in step:
            yield f"{name} {step['status']}: {step['error']}"
        problems = [
            f"{name}: {check['name']}: {check['problem']}"
            for check in _checks(step)
            if check["problem"] is not None
        ]
        if problems:
            yield "\n".join(problems)
    for name, drawn in (("attention", _attention), ("encoder", _encoder)):
        findings = record["steps"].get(name, {}).get("findings")
        if findings and findings["times"]:
            yield "\n".join((drawn(findings["times"]), *(f"- {n}" for n in findings["notes"])))


def _checks(step: Mapping[str, Any]) -> list[dict[str, Any]]:
    checks: list[dict[str, Any]] = step.get("findings", {}).get("checks", [])
    return checks


def _steps(steps: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, step in steps.items():
        checks = _checks(step)
        passed = sum(check["problem"] is None for check in checks)
        compared = [c["error"] / c["allowed"] for c in checks if c["allowed"]]
        rows.append(
            (
                name,
                step["status"],
                f"{passed} of {len(checks)}" if checks else "",
                f"{max(compared):.2f}" if compared else "",
                f"{step['seconds']:.0f}",
            )
        )
    return table(
        "Steps", ("step", "result", "checks passed", "largest error / allowed", "seconds"), rows
    )


def _attention(times: list[dict[str, Any]]) -> str:
    rows = []
    for row in times:
        call, replay = row["call"], row["replay"]
        flash = _of(times, row, "flash")
        ratio = flash["replay"]["best"] / replay["best"] if flash and replay else None
        rows.append(
            (
                row["workload"],
                "global" if row["window"] < 0 else str(row["window"]),
                row["program"],
                f"{row['tokens']:,}",
                *_pair(call),
                *_pair(replay),
                f"{row['flop'] / replay['best'] / 1e12:,.1f}" if replay else "-",
                "-" if ratio is None else f"{ratio:.2f}x",
            )
        )
    return table(
        "Attention, us",
        (
            *("workload", "window", "program", "tokens", "call best", "call median"),
            *("graph best", "graph median", "TFLOP/s", "flash's time / its"),
        ),
        rows,
    )


def _of(times: list[dict[str, Any]], row: dict[str, Any], program: str) -> dict[str, Any] | None:
    """Return the program's row for the same work, if it has a replay."""
    for other in times:
        same = all(other[key] == row[key] for key in ("workload", "window"))
        if same and other["program"] == program and other["replay"]:
            return other
    return None


def _encoder(times: list[dict[str, Any]]) -> str:
    rows = []
    for row in times:
        replay, predicted = row["replay"], row["predicted"]
        known = replay and predicted
        rows.append(
            (
                row["workload"],
                row["part"],
                *_pair(row["call"]),
                *_pair(replay),
                microseconds(predicted),
                f"{replay['best'] / predicted:.2f}" if known else "-",
            )
        )
    return table(
        "Encoder, us",
        (
            *("workload", "part", "call best", "call median", "graph best", "graph median"),
            *("predicted", "measured / predicted"),
        ),
        rows,
    )


def _pair(timing: dict[str, float] | None) -> tuple[str, str]:
    if timing is None:
        return "-", "-"
    return microseconds(timing["best"]), microseconds(timing["median"])
