"""Build an engine from an ONNX model, with either library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mbert.errors import BackendError

from ...manifest import Profile, TensorSpec
from ...onnx_names import node_domains
from .api import Library, Log
from .build_process import BuildReport, BuildRequest, Progress, Warn
from .profiles import shape_at

# Domains of ONNX's own operators.
_STANDARD = frozenset({"", "ai.onnx"})
# Phases have thousands of steps.
_PROGRESS_STEP = 0.01


def build_engine(
    library: Library,
    request: BuildRequest,
    progress: Progress,
    warn: Warn,
    configure: Callable[[Any], None],
) -> BuildReport:
    """Build an engine in this process; see :func:`build_in_child`.

    Args:
        library: one of the two.
        request: the engine to build.
        progress: called with the phase and the fraction that is done; from any thread.
        warn: called with each of the library's warnings.
        configure: called with the builder's config to set the options of one library.

    Raises:
        BackendError: the library is missing, or refuses the model; the message quotes it.
    """
    trt = library.load()
    model = Path(request.model)
    _check_domains(library, model)
    log = Log(library, warn)
    builder = _created(trt.Builder(log.sink), log, library, "a builder")
    for plugin in request.plugins:
        # The parser looks up operators that it does not know in the builder's registry.
        if builder.get_plugin_registry().load_library(plugin) is None:
            raise BackendError(f"{library.title} refuses the plugins {plugin}: {log.failure()}.")
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = _created(builder.create_network(strongly_typed), log, library, "a network")
    parser = _created(trt.OnnxParser(network, log.sink), log, library, "a parser")
    if not parser.parse_from_file(request.model):
        raise BackendError(f"{library.title} cannot read {model}: {log.failure()}.")
    config = _created(builder.create_builder_config(), log, library, "a configuration")
    _set_common_options(trt, config, request)
    monitor = _monitor(trt, progress)  # held by a variable: the config does not keep it alive
    config.progress_monitor = monitor
    configure(config)
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
    return BuildReport(library.version, tuple(log.activation_bytes), fused)


def _set_common_options(trt: Any, config: Any, request: BuildRequest) -> None:
    # The report names the layers only at this level; nothing else changes.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # On by default: it would cut the inputs of float32 products to 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    # Documented for engines that other versions can load, but it needs no flag, and that one would
    # rule out kernels (trtexec does the same).
    if request.plugins:
        config.plugins_to_serialize = list(request.plugins)


def _check_domains(library: Library, model: Path) -> None:
    # The parsers look for a plugin of that name; TensorRT-RTX's aborts the process without one.
    try:
        domains = node_domains(model.read_bytes())
    except OSError as error:
        raise BackendError(f"{model} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BackendError(f"{model} is not an ONNX model: {error}.") from error
    if unknown := domains - _STANDARD - library.domains:
        raise BackendError(
            f"{model} has operators of domain {', '.join(map(repr, sorted(unknown)))}, which "
            f"{library.title} does not have. Export with --backend {library.name}, which writes "
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
    """Return a monitor that reports the fraction of the outermost phase that is done."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # see Log
        def __init__(self) -> None:
            super().__init__()
            # Open phases by name: the parent phase, the number of steps, the steps done.
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
            fraction, current = 0.0, phase
            for _ in range(len(self._open)):  # bounded: a phase may name itself as its parent
                if current not in self._open:
                    break
                parent, steps, done = self._open[current]
                fraction = min(1.0, (done + fraction) / steps)
                current = parent or ""
            if fraction >= self._reported + _PROGRESS_STEP:
                self._reported = fraction
                progress(phase, fraction)

    return Monitor()


def _created(thing: Any, log: Log, library: Library, what: str) -> Any:
    if thing is None:
        raise BackendError(f"{library.title} cannot make {what}: {log.failure()}.")
    return thing
