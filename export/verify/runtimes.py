"""The runtimes that compute an exported model on this machine, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mbert.runtime.backends import open_session
from mbert.runtime.backends.onnxruntime import OnnxRuntimeSession
from mbert.runtime.backends.tensorrt.calls import compute
from mbert.runtime.bundle import MODEL, Bundle
from mbert.runtime.manifest import Engine, Manifest

from ..graph import Graph
from .reference import Arrays, Batch

Run = Callable[[Batch], Arrays]
SessionFactory = Callable[[], Run]  # loads the model


def local_runtimes(
    folder: Path, backend: str, graph: Graph, engine: Engine | None
) -> dict[str, SessionFactory]:
    """Return the ways to run the graph of ``backend`` with ONNX Runtime on the CPU.

    The graph of an engine without plugins is fed as that engine is.
    """
    model = folder / MODEL

    def packed(kernels: bool) -> Run:
        return OnnxRuntimeSession(model, kernels=kernels).run

    def padded() -> Run:
        assert engine is not None
        session = OnnxRuntimeSession(model, kernels=False)
        return lambda batch: compute(
            batch, engine, graph.inputs, graph.outputs, lambda call: session.run(call.feeds)
        )

    if backend == "tensorrt-rtx":
        return {"standard operators": padded}
    runtimes: dict[str, SessionFactory] = {"plugin": lambda: packed(True)}
    if backend == "onnxruntime":  # TensorRT's graph carries no functions
        runtimes["functions"] = lambda: packed(False)
    return runtimes


def gpu_runtime(folder: Path, manifest: Manifest, device: int) -> dict[str, SessionFactory]:
    """Return the backend of a bundle on a GPU, as users run it."""

    def opened() -> Run:
        bundle = Bundle(folder, manifest)
        return open_session(bundle, threads=None, device=f"cuda:{device}", kernels=True).run

    return {manifest.backend: opened}
