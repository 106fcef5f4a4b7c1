"""A whole comparison: load the programs, measure each workload, collect the report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from mbert.errors import BundleError, InputError
from mbert.runtime.manifest import Manifest
from mbert.steps import Steps

from .driver import Measurement, measure
from .machine import Machine
from .process import WorkerProcess
from .programs import MBERT
from .report import Loaded, Report
from .workloads import Workload, ordinary_ids


def compare_programs(
    bundle: Path,
    checkpoint: str | None,
    peers: Sequence[str],
    workloads: Sequence[Workload],
    *,
    machine: Machine,
    threads: int,
    seconds: float,
    scratch: Path,
    progress: Steps,
) -> Report:
    """Measure mbert and its peers.

    Args:
        bundle: a bundle folder.
        checkpoint: what it was exported from, for the peers: a folder or a hub id; None: the
            hub id that the manifest names.
        peers: names of :data:`mbert.bench.programs.PEERS`; may be empty.
        workloads: what to run; those with sequences too long for the bundle are skipped.
        machine: as it was before anything ran.
        threads: threads of every program.
        seconds: time to spend on the turns of each workload.
        scratch: a folder for the programs' outputs, and the processes' working directory.
        progress: shows each step.

    Raises:
        MbertError: a program cannot be loaded, dies or computes something else.
    """
    manifest = Manifest.read(bundle)
    fitting, skipped = _fitting(workloads, manifest)
    ordinary = ordinary_ids(manifest.model["vocab_size"], manifest.special_tokens.values())
    mask = _mask(manifest)
    # The processes work in another directory.
    paths = {MBERT: bundle.resolve()}
    if peers:
        paths |= dict.fromkeys(peers, _checkpoint_folder(checkpoint, manifest, bundle))
    with ExitStack() as stack:
        workers: dict[str, WorkerProcess] = {}
        replies = {}
        for name, path in paths.items():
            with progress(f"load {name}"):
                workers[name] = stack.enter_context(WorkerProcess(name, scratch))
                replies[name] = workers[name].ask(
                    "load", program=name, path=str(path), task=manifest.task, threads=threads
                )
        measurements: list[Measurement] = []
        for workload in fitting:
            with progress(f"{workload.name}: {workload.description}"):
                sequences = workload.sequences(ordinary, mask)
                measurements.append(measure(workers, workload, sequences, scratch, seconds))
        loaded = {
            name: Loaded(
                versions=replies[name]["versions"],
                load_seconds=replies[name]["seconds"],
                peak_bytes=worker.ask("highest_peak")["peak_bytes"],
            )
            for name, worker in workers.items()
        }
    return Report(
        machine=machine,
        model=_describe(manifest),
        threads=threads,
        programs=loaded,
        workloads=measurements,
        skipped=skipped,
    )


def _checkpoint_folder(checkpoint: str | None, manifest: Manifest, bundle: Path) -> Path:
    if checkpoint is not None and Path(checkpoint).is_dir():
        return Path(checkpoint).resolve()
    source, revision = manifest.source.get("checkpoint"), manifest.source.get("revision")
    if checkpoint is None and revision is None:  # exported from a folder
        raise InputError(
            f"--against needs --checkpoint: the folder of {source}, from which {bundle} was "
            "exported."
        )
    from mbert.model import open_checkpoint  # imports torch: only where the hub is asked

    return open_checkpoint(checkpoint or str(source), None if checkpoint else revision).folder


def _fitting(
    workloads: Sequence[Workload], manifest: Manifest
) -> tuple[list[Workload], dict[str, str]]:
    limit = manifest.limits.max_sequence_length
    skipped = {
        workload.name: f"it has {max(workload.lengths):,} tokens in one sequence, the bundle "
        f"takes {limit:,}"
        for workload in workloads
        if max(workload.lengths) > limit
    }
    fitting = [workload for workload in workloads if workload.name not in skipped]
    if not fitting:
        raise InputError(
            "Nothing to measure. "
            + "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
            + ". Choose shorter --workloads."
        )
    return fitting, skipped


def _mask(manifest: Manifest) -> int | None:
    if manifest.task != "fill-mask":
        return None
    mask = manifest.special_tokens.get("mask")
    if mask is None:
        raise BundleError(
            "The bundle is for fill-mask and names no mask token, since its checkpoint has no "
            "tokenizer. Export it with --task feature-extraction."
        )
    return mask


def _describe(manifest: Manifest) -> dict[str, object]:
    shape = manifest.model
    return {
        "source": manifest.source.get("checkpoint"),
        "task": manifest.task,
        "precision": manifest.precision,
        "target": manifest.target,
        "backend": manifest.backend,
        "exported_with": manifest.mbert_version,
        "vocab_size": shape["vocab_size"],
        "hidden_size": shape["hidden_size"],
        "layers": len(shape["layers"]),
    }
