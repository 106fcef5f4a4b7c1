"""Describe the engine of a bundle, and build it during the export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mbert.errors import ExportError
from mbert.model.families.modernbert_config import ModelConfig
from mbert.runtime.backends.tensorrt import LIBRARIES
from mbert.runtime.backends.tensorrt.build_process import Progress
from mbert.runtime.backends.tensorrt.profiles import profiles_for
from mbert.runtime.bundle import MODEL
from mbert.runtime.manifest import Engine, Limits, symbols_of

from .graph import Graph
from .padded import tokens_multiple
from .placement import Placement

ENGINES = "engines"


def plan_engine(
    placement: Placement, config: ModelConfig, graph: Graph, limits: Limits
) -> Engine | None:
    """Describe the engine before it is built; None for ONNX Runtime, which needs none."""
    if placement.backend == "onnxruntime" or placement.target is None:
        return None
    # Packed engines round too: a tile of a matrix product has as many rows.
    multiple = tokens_multiple([layer.window for layer in config.layers])
    return Engine(
        file=None,
        compute_capability=placement.target.compute_capability,
        builder=None,
        profiles=profiles_for(symbols_of(graph.inputs), limits, multiple),
        tokens_multiple=multiple,
        hardware_compatibility=placement.hardware_compatibility,
    )


def build_engine(
    placement: Placement, engine: Engine, folder: Path, layers: int, progress: Progress | None
) -> Engine:
    """Build ``engine`` from the model in ``folder``.

    Raises:
        BackendError: the backend is missing or refuses the model.
        ExportError: a layer's attention was not compiled to one kernel.
    """
    name = f"{ENGINES}/{placement.backend}-{placement.name}.engine"
    (folder / ENGINES).mkdir()
    report = LIBRARIES[placement.backend].build(
        folder / MODEL, folder / name, engine, progress, placement.device
    )
    # Without fusion, attention would store a score for every pair of tokens: slow and too large.
    expected = (layers,) * len(engine.profiles)
    if report.fused_attention is not None and report.fused_attention != expected:
        raise ExportError(
            f"{report.builder} fused the attention of {report.fused_attention} layers, by profile; "
            f"the model has {layers}. Use --backend tensorrt, and please report the checkpoint's "
            "config.json."
        )
    return replace(
        engine,
        file=name,
        builder=report.builder,
        activation_bytes=report.activation_bytes,
        gpu=report.gpu,
    )
