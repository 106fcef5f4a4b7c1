"""``mbert inspect``: describe a bundle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mbert.errors import MbertError

from .bundle import open_bundle
from .manifest import Engine, Manifest, TensorSpec

Row = tuple[str, str]

_LABELS_SHOWN = 8


@click.command("inspect")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest, and the size, as JSON.")
def main(bundle: Path, as_json: bool) -> None:
    """Check the files of BUNDLE and describe it."""
    try:
        manifest = open_bundle(bundle).manifest
    except MbertError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        size = sum(entry.size for entry in manifest.files.values())
        click.echo(json.dumps({"bundle": str(bundle), "size": size, **asdict(manifest)}))
        return
    rows = (*summary(manifest), *details(manifest))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:{width}}  {value}")


def summary(manifest: Manifest) -> Iterator[Row]:
    """Yield what was exported and how exact it is."""
    record, shape, limits = manifest.verification, manifest.model, manifest.limits
    yield "task", manifest.task
    yield "target", f"{manifest.target}, {manifest.precision}, {manifest.backend}"
    if manifest.engine is not None:
        yield "engine", _engine_state(manifest.engine, "gpu" in record)
    yield (
        "model",
        f"{len(shape['layers'])} layers, hidden {shape['hidden_size']}, "
        f"up to {limits.max_sequence_length} tokens",
    )
    for name, checks in record.get("checks", {}).items():
        yield from _errors(name, manifest, record, checks)
    if manifest.reduced_on_cpu and "hidden_state_cosine" in record:
        cosine = record["hidden_state_cosine"]
        yield (
            "cosine with float64, hidden states",
            f"{cosine['mean']:.5f} (smallest {cosine['smallest']:.5f})",
        )
    for checks in record.get("gpu", {}).get("checks", {}).values():
        yield from _errors("on the GPU", manifest, record["gpu"], checks)
    for output, error in record.get("bf16", {}).get("pytorch_error", {}).items():
        yield f"error, PyTorch, bf16, {output}", f"{error:.2e} (no bf16 graph runs on a CPU)"
    yield "size", _megabytes(sum(entry.size for entry in manifest.files.values()))


def details(manifest: Manifest) -> Iterator[Row]:
    """Yield the rest of the manifest."""
    limits, source, record = manifest.limits, manifest.source, manifest.verification
    yield "one call", f"up to {limits.max_tokens} tokens, {limits.max_sequences} sequences"
    for kind, specs in (("input", manifest.inputs), ("output", manifest.outputs)):
        for spec in specs:
            yield kind, _shown(spec)
    if manifest.pooling is not None:
        yield "pooling", manifest.pooling
    if manifest.labels is not None:
        more = ", ..." if len(manifest.labels) > _LABELS_SHOWN else ""
        names = ", ".join(manifest.labels[:_LABELS_SHOWN])
        yield "labels", f"{len(manifest.labels)}: {names}{more}"
    if manifest.problem_type is not None:
        yield "problem type", manifest.problem_type
    for settings in (manifest.embedding, manifest.reranking, manifest.late_interaction):
        if settings is not None:
            yield from settings.describe()
    if manifest.special_tokens:
        ids = (f"{role} {token_id}" for role, token_id in manifest.special_tokens.items())
        yield "special tokens", ", ".join(ids)
    revision = f" at {source['revision']}" if source.get("revision") else ""
    yield "checkpoint", f"{source.get('checkpoint')}{revision}"
    yield "licence", source.get("license") or "not stated by the model card"
    if "judge" in record and "batch" in record:
        lengths = record["batch"]["lengths"]
        yield "verified against", f"{record['judge']}, {len(lengths)} sequences to {max(lengths)}"
    yield "written by", f"mbert {manifest.mbert_version}, format {manifest.format_version}"
    for name, entry in sorted(manifest.files.items()):
        yield "file", f"{name} {_megabytes(entry.size)}"


def _errors(
    name: str, manifest: Manifest, record: dict[str, Any], checks: dict[str, Any]
) -> Iterator[Row]:
    """Yield one row for each output of the graph; ``name`` says how it was run."""
    outputs = record.get("outputs", {})
    if "max_abs_error" in checks:  # legacy record with a single output
        only = manifest.outputs[0].name
        checks, outputs = {only: checks}, {only: record}
    precision = record.get("precision", manifest.precision)
    for output, check in checks.items():
        judged = outputs.get(output, {})
        known = (("tolerance", ".2e"), ("largest_value", ".3g"))
        words = [
            f"{key.replace('_', ' ')} {judged[key]:{form}}" for key, form in known if key in judged
        ]
        against = f" ({', '.join(words)})" if words else ""
        yield (
            f"error, {name}, {precision}, {output}",
            f"{check['max_abs_error']:.2e}{against}",
        )


def _engine_state(engine: Engine, was_run: bool) -> str:
    capability = f"compute capability {engine.compute_capability}"
    if engine.file is None:
        return f"none yet: built at first load, on a GPU of {capability}"
    activations = max(engine.activation_bytes, default=0) / 1e6
    return (
        f"{engine.builder} for {capability}, {len(engine.profiles)} profiles, up to "
        f"{activations:.0f} MB of activations; built, {'and run' if was_run else 'not run'}"
    )


def _shown(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} [{', '.join(map(str, spec.shape))}]"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
