"""A whole benchmark: load the programs, measure each workload, collect the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from mbert.errors import BackendError, BundleError, InputError
from mbert.runtime.manifest import Manifest
from mbert.runtime.manifest_reader import read_manifest
from mbert.steps import Steps

from .errors import BenchError
from .machine import Machine
from .measurement import Measurement, measure
from .peer_models import PeerModels
from .program_process import ProgramProcess, ProgramSpec
from .programs import BUNDLE, EXACT, MBERT, PEERS, ProgramKind, Source
from .report import Loaded, Report
from .roofline import Shape
from .sgemm import Ceiling
from .sgemm import measure as measure_sgemm
from .worker_process import WorkerProcess
from .workloads import Workload, ordinary_ids


def run_benchmark(
    bundles: Sequence[Path],
    checkpoint: str | None,
    peers: Sequence[str],
    workloads: Sequence[Workload],
    *,
    machine: Machine,
    threads: int,
    seconds: float,
    scratch: Path,
    kept: Path | None,
    progress: Steps,
) -> Report:
    """Measure bundles and their peers.

    Args:
        bundles: bundle folders of one model and task, in different precisions.
        checkpoint: what they were exported from, for the peers: a folder or a hub id; None: the
            hub id that the first manifest names.
        peers: keys of :data:`mbert.bench.programs.PEERS`; may be empty.
        workloads: what to run; those with sequences too long for the bundles are skipped.
        machine: as it was before anything ran.
        threads: threads of every program.
        seconds: time to spend on the turns of each workload.
        scratch: a folder for the programs' outputs, and the processes' working directory.
        kept: a folder for the models that peers need; None: in ``scratch``.
        progress: shows each step.

    Raises:
        MbertError: a bundle cannot be loaded, dies or computes something else than the others; or
            none of the peers can be loaded.
    """
    manifests = [read_manifest(bundle) for bundle in bundles]
    manifest = manifests[0]
    fitting, skipped = _fitting(workloads, manifests)
    ordinary = ordinary_ids(manifest.model["vocab_size"], manifest.special_tokens.values())
    mask = _mask(manifest)
    specs = _bundle_specs(bundles, manifests, threads)
    folder = _checkpoint_folder(checkpoint, manifest, bundles[0]) if peers else None
    ceiling = Ceiling(manifest.model["hidden_size"], 3 * manifest.model["hidden_size"])

    def measure_ceiling() -> None:
        with progress("best sgemm"):
            measure_sgemm(ceiling, threads, seconds, scratch)

    with ExitStack() as stack:
        programs: list[ProgramProcess] = []
        left_out: dict[str, str] = {}

        def load(spec: ProgramSpec) -> None:
            with progress(f"load {spec.name}"):
                program = stack.enter_context(ProgramProcess(spec, scratch))
                program.load()
            programs.append(program)

        for spec in specs:
            load(spec)
        if folder is not None:
            architecture = _architecture(manifest.task)
            models = PeerModels(folder, architecture, kept or scratch, _maker(scratch, progress))
            for name in peers:
                kind = PEERS[name]
                try:
                    path = str(models.path(kind.loads))
                    source = Source(path, architecture, _rows(manifest), kind.precision, threads)
                    load(ProgramSpec(name, kind, source, ours=False))
                except (BackendError, BenchError) as error:
                    left_out[name] = str(error)
            if len(left_out) == len(peers):
                raise BackendError(" ".join(left_out.values()))
        measure_ceiling()
        shape = Shape.of_manifest(manifest.model)
        measurements: list[Measurement] = []
        for workload in fitting:
            with progress(f"{workload.name}: {workload.description}"):
                sequences = workload.sequences(ordinary, mask)
                measurements.append(measure(programs, shape, workload, sequences, scratch, seconds))
        loaded = {program.spec.name: _loaded(program) for program in programs}
    measure_ceiling()
    return Report(
        machine=machine,
        model=_describe(manifest),
        threads=threads,
        programs=loaded,
        sgemm=ceiling,
        workloads=[_with_shares(measurement, ceiling.best) for measurement in measurements],
        skipped=skipped,
        left_out=left_out,
    )


def _bundle_specs(
    bundles: Sequence[Path], manifests: Sequence[Manifest], threads: int
) -> list[ProgramSpec]:
    """Name the bundles: "mbert", or "mbert-int8" for instance if it is not float32."""
    specs: dict[str, ProgramSpec] = {}
    for bundle, manifest in zip(bundles, manifests, strict=True):
        name = MBERT if manifest.precision == EXACT else f"{MBERT}-{manifest.precision}"
        for field in ("task", "model"):
            if getattr(manifest, field) != getattr(manifests[0], field):
                raise InputError(
                    f"{bundle} and {bundles[0]} differ in {field}. Bundles that are measured "
                    "together are exports of one checkpoint for one task."
                )
        if name in specs:
            raise InputError(
                f"{bundle} and {specs[name].source.path} are both in {manifest.precision}. Measure "
                "one bundle of each precision together."
            )
        # The processes work in another directory.
        path = str(bundle.resolve())
        source = Source(path, None, _rows(manifest), manifest.precision, threads)
        specs[name] = ProgramSpec(name, ProgramKind("packed", BUNDLE), source, ours=True)
    return list(specs.values())


def _rows(manifest: Manifest) -> str:
    """Return what the outputs have a row for: "tokens", "masks" or "sequences"."""
    return str(manifest.outputs[0].shape[0])


def _architecture(task: str) -> str | None:
    """Return transformers' class that computes ``task``; None if no class does."""
    from mbert.export.tasks import find_task  # imports torch: only where peers are measured

    return next(iter(find_task(task).architectures), None)


def _maker(scratch: Path, progress: Steps) -> Callable[[str, str, str | None, Path], None]:
    """Make peers' models in processes that free their memory before anything is timed."""

    def make(name: str, source: str, architecture: str | None, folder: Path) -> None:
        with progress(f"make the model {name}"), WorkerProcess(f"{name} export", scratch) as worker:
            worker.ask(
                "make_peer_model",
                name=name,
                source=source,
                architecture=architecture,
                folder=str(folder),
            )

    return make


def _loaded(program: ProgramProcess) -> Loaded:
    if program.alive:  # a peer may have died on the last workload
        program.ask("highest_peak")
    return Loaded(
        precision=program.spec.precision,
        versions=program.versions,
        load_seconds=program.load_seconds,
        peak_bytes=program.peak_bytes,
    )


def _with_shares(measurement: Measurement, best: float) -> Measurement:
    results = {
        name: replace(result, share=measurement.flop / result.figures.median / best)
        for name, result in measurement.results.items()
    }
    return replace(measurement, results=results)


def _checkpoint_folder(checkpoint: str | None, manifest: Manifest, bundle: Path) -> Path:
    if checkpoint is not None and Path(checkpoint).is_dir():
        return Path(checkpoint).resolve()
    source, revision = manifest.source.get("checkpoint"), manifest.source.get("revision")
    if checkpoint is None and revision is None:  # exported from a folder
        raise InputError(
            f"--against needs --checkpoint: the folder of {source}, from which {bundle} was "
            "exported."
        )
    from mbert.export.checkpoint import (
        open_checkpoint,  # imports torch: only where the hub is asked
    )

    return open_checkpoint(checkpoint or str(source), None if checkpoint else revision).folder


def _fitting(
    workloads: Sequence[Workload], manifests: Sequence[Manifest]
) -> tuple[list[Workload], dict[str, str]]:
    limit = min(manifest.limits.max_sequence_length for manifest in manifests)
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
    if _rows(manifest) != "masks":
        return None
    mask = manifest.special_tokens.get("mask")
    if mask is None:
        raise BundleError(
            "The bundle fills masks and names no mask token: its checkpoint has no tokenizer. Add "
            "one and export again, or export another --task."
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
