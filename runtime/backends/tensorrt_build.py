"""Building an engine from an ONNX model, with TensorRT or TensorRT-RTX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mbert.errors import BackendError

from ..manifest import Profile, TensorSpec
from ..onnx_names import node_domains
from ..profiles import shape_at
from .build_process import BuildReport, BuildRequest, Progress
from .tensorrt_api import Library, Log

# Domains of ONNX's own operators.
_STANDARD = frozenset({"", "ai.onnx"})
# Phases have thousands of steps.
_PROGRESS_STEP = 0.01


def build_engine(
    library: Library,
    request: BuildRequest,
    progress: Progress,
    warn: Callable[[str], None],
    configure: Callable[[Any, Any], None],
    plugins: Sequence[str] = (),
) -> BuildReport:
    """Build an engine in this process; see :func:`build_in_child`.

    Args:
        library: which of the two.
        request: what to build.
        progress: see :func:`build_in_child`; may be called from another thread.
        warn: called with each of the library's warnings.
        configure: called with the module and the builder's config; sets what differs between the
            libraries.
        plugins: libraries of plugins, which go into the engine.

    Raises:
        BackendError: the library is missing, or refuses the model; with its own words.
    """
    trt = library.load()
    model = Path(request.model)
    _check_domains(library, model)
    log = Log(trt, library.attention, warn)
    builder = _created(trt.Builder(log.sink), log, library, "a builder")
    for plugin in plugins:
        # The builder's own registry, which the parser looks into for what it does not know.
        if builder.get_plugin_registry().load_library(plugin) is None:
            raise BackendError(f"{library.title} refuses the plugins {plugin}: {log.failure()}.")
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = _created(builder.create_network(strongly_typed), log, library, "a network")
    parser = _created(trt.OnnxParser(network, log.sink), log, library, "a parser")
    if not parser.parse_from_file(request.model):
        raise BackendError(f"{library.title} cannot read {model}: {log.failure()}.")
    config = _created(builder.create_builder_config(), log, library, "a configuration")
    # The report names the layers only at this level; nothing else changes.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # On by default: products of float32 would be those of 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    # Documented for engines that other versions can load, yet no flag is asked for, and that one
    # would rule kernels out (trtexec does likewise).
    if plugins:
        config.plugins_to_serialize = list(plugins)
    monitor = _monitor(trt, progress)  # a name of its own: the config does not keep it alive
    config.progress_monitor = monitor
    configure(trt, config)
    for profile in request.profiles:
        _add_profile(builder, network, config, profile, log, library)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise BackendError(
            f"{library.title} {trt.__version__} cannot build {model}: {log.failure()}. Another "
            "precision or backend may do: see --precision and --backend of mbert-export."
        )
    try:
        Path(request.engine).write_bytes(memoryview(serialized))
    except OSError as error:
        raise BackendError(f"The engine cannot be written: {error.strerror}.") from error
    fused = None if library.attention is None else tuple(log.attention_layers)
    return BuildReport(library.builder(trt), tuple(log.activation_bytes), fused)


def _check_domains(library: Library, model: Path) -> None:
    # The parsers look for a plugin of that name, and one of them aborts the process over it.
    try:
        domains = node_domains(model.read_bytes())
    except OSError as error:
        raise BackendError(f"{model} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BackendError(f"{model} is not an ONNX model: {error}.") from error
    if unknown := domains - _STANDARD - library.domains:
        raise BackendError(
            f"{model} has operators of domain {', '.join(map(repr, sorted(unknown)))}, which "
            f"{library.title} does not have. Export with --backend {library.backend}, which writes "
            "the graph that it takes."
        )


def _add_profile(
    builder: Any, network: Any, config: Any, profile: Profile, log: Log, library: Library
) -> None:
    added = builder.create_optimization_profile()
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        dimensions = tuple(
            size if size >= 0 else str(tensor.get_dimension_name(axis))
            for axis, size in enumerate(tensor.shape)
        )
        spec = TensorSpec(tensor.name, str(tensor.dtype), dimensions)
        try:
            shapes = [
                shape_at(spec, {symbol: sizes[which] for symbol, sizes in profile.ranges.items()})
                for which in range(3)
            ]
        except KeyError as error:
            raise BackendError(
                f"The profile {profile.name!r} has no range for {error}, a size of the input "
                f"{spec.name!r} of shape {list(dimensions)}. Export again."
            ) from error
        added.set_shape(spec.name, *shapes)
    if config.add_optimization_profile(added) < 0:
        raise BackendError(
            f"{library.title} refuses the profile {profile.name!r}: {log.failure()}."
        )


def _monitor(trt: Any, progress: Progress) -> Any:
    """Report the part that is done of the outermost phase."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # as in Log
        def __init__(self) -> None:
            super().__init__()
            # Open phases by name: the phase around it, its steps, and how many are done.
            self._open: dict[str, tuple[str | None, int, int]] = {}
            self._reported = -1.0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._open[phase] = (parent, max(1, steps), 0)

        def step_complete(self, phase: str, step: int) -> bool:
            self._report(phase, step + 1)
            return True  # go on

        def phase_finish(self, phase: str) -> None:
            if phase in self._open:
                self._report(phase, self._open[phase][1])
                del self._open[phase]

        def _report(self, phase: str, steps_done: int) -> None:
            if phase in self._open:
                self._open[phase] = (*self._open[phase][:2], steps_done)
            part, at = 0.0, phase
            for _ in range(len(self._open)):  # a name within itself would lead round in circles
                if at not in self._open:
                    break
                around, steps, done = self._open[at]
                part = min(1.0, (done + part) / steps)
                at = around or ""
            if part >= self._reported + _PROGRESS_STEP:
                self._reported = part
                progress(phase, part)

    return Monitor()


def _created(thing: Any, log: Log, library: Library, what: str) -> Any:
    if thing is None:
        raise BackendError(f"{library.title} cannot make {what}: {log.failure()}.")
    return thing
