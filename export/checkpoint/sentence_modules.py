"""Build the PyTorch modules that ``modules.json`` lists after the transformer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from torch import nn

from mbert.errors import CheckpointError
from mbert.model.heads.sentence_modules import (
    SENTENCE,
    TOKENS,
    Dense,
    FeatureModule,
    LayerNorm,
    ModulePipeline,
    Normalize,
    Pooling,
)
from mbert.plugins.operators import POOLING_MODES

from .modules_json import IGNORED, MODULES, ModuleSpec
from .weights import load_module

Widths = dict[str, int]

# By class name. sentence-transformers also makes them with their defaults.
DENSE_ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        nn.Identity,
        nn.Tanh,
        nn.GELU,
        nn.ReLU,
        nn.SiLU,
        nn.Sigmoid,
        nn.ELU,
        nn.LeakyReLU,
        nn.Softplus,
    )
}

# Older folders have a flag for each mode; several are concatenated in this order.
_MODE_OF_FLAG = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# The width of a pooling's output, in newer and in older folders.
WIDTH_KEYS = ("embedding_dimension", "word_embedding_dimension")
_NAME_KEYS = ("module_input_name", "module_output_name")
_DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function", "use_residual")


def build_pipeline(modules: Sequence[ModuleSpec], width: int) -> ModulePipeline:
    """Build the modules after the transformer, for an encoder of ``width`` channels.

    Raises:
        CheckpointError: a module, setting or width is not supported; it is named.
    """
    transformer = modules[0]
    transformer.need_one_of("transformer_task", ["feature-extraction"])
    transformer.need_one_of("module_output_name", [TOKENS])
    widths: Widths = {TOKENS: width}
    steps = [_build(spec, widths) for spec in modules[1:] if spec.kind not in IGNORED]
    return ModulePipeline(steps, widths)


def load_pipeline(pipeline: ModulePipeline, modules: Sequence[ModuleSpec], folder: Path) -> None:
    """Load the weights of each module of a pipeline from the module's folder.

    Args:
        pipeline: built of ``modules``.
        modules: what modules.json lists.
        folder: of the checkpoint.

    Raises:
        CheckpointError: as :func:`mbert.export.checkpoint.weights.load_module`.
    """
    computed = (spec for spec in modules if spec.kind in _BUILDERS)
    for spec, step in zip(computed, pipeline.steps, strict=True):
        load_module(step, folder / spec.path)


def normalizes_sentence(spec: ModuleSpec) -> bool:
    """Return whether a module scales a sequence's vector to length 1 and does nothing else."""
    return spec.kind == "Normalize" and _names(spec) == (SENTENCE, SENTENCE)


def torch_class(name: object, kinds: Collection[str]) -> str | None:
    """Return the class of torch.nn that a dotted name means if it is in ``kinds``, else None."""
    library, _, kind = str(name).rpartition(".")
    return kind if library.split(".")[:2] == ["torch", "nn"] and kind in kinds else None


def pooling_modes(spec: ModuleSpec) -> tuple[str, ...]:
    """Return the modes of a Pooling, in the order in which their vectors are concatenated.

    Raises:
        CheckpointError: a mode that mbert does not compute, or an empty list.
    """
    if "pooling_mode" in spec.settings:  # newer folders
        named = spec.settings["pooling_mode"]
        modes = tuple(named) if isinstance(named, list) else (named,)
    else:
        modes = tuple(mode for flag, mode in _MODE_OF_FLAG.items() if spec.flag(flag, False))
        modes = modes or ("mean",)
    if not modes or any(mode not in list(POOLING_MODES) for mode in modes):
        raise spec.unsuited("pooling_mode", f"some of {', '.join(POOLING_MODES)}")
    return modes


def _build(spec: ModuleSpec, widths: Widths) -> FeatureModule:
    """Build one module and enter the width of its output into ``widths``."""
    if spec.kind not in _BUILDERS:
        raise CheckpointError(
            f"{MODULES}: {spec.kind} in {spec.path!r} is not a module that mbert computes: "
            f"{', '.join((*_BUILDERS, *IGNORED))}."
        )
    return _BUILDERS[spec.kind](spec, widths)


def _pooling(spec: ModuleSpec, widths: Widths) -> Pooling:
    spec.need_only((*WIDTH_KEYS, *_MODE_OF_FLAG, "pooling_mode", "include_prompt"))
    pooling = Pooling(pooling_modes(spec), spec.flag("include_prompt", True))
    width = _width(spec, TOKENS, widths)
    for key in WIDTH_KEYS:
        if key in spec.settings and spec.number(key) != width:
            raise spec.unsuited(key, f"the width of {TOKENS}, {width}")
    widths[SENTENCE] = width * len(pooling.modes)
    return pooling


def _dense(spec: ModuleSpec, widths: Widths) -> Dense:
    spec.need_only((*_NAME_KEYS, *_DENSE_KEYS))
    reads, writes = _names(spec)
    width = _width(spec, reads, widths)
    in_features, out_features = spec.number("in_features"), spec.number("out_features")
    if in_features != width:
        raise spec.unsuited("in_features", f"the width of {reads}, {width}")
    widths[writes] = out_features
    return Dense(
        in_features,
        out_features,
        bias=spec.flag("bias", True),
        activation=_dense_activation(spec),
        has_residual=spec.flag("use_residual", False),
        reads=reads,
        writes=writes,
    )


def _dense_activation(spec: ModuleSpec) -> nn.Module:
    name = spec.text("activation_function", "torch.nn.Tanh")
    kind = torch_class(name, DENSE_ACTIVATIONS)
    if kind is None:
        expected = f"one of torch.nn: {', '.join(DENSE_ACTIVATIONS)}"
        raise spec.unsuited("activation_function", expected)
    return DENSE_ACTIVATIONS[kind]()


def _layer_norm(spec: ModuleSpec, widths: Widths) -> LayerNorm:
    spec.need_only(("dimension",))
    width = _width(spec, SENTENCE, widths)
    if spec.number("dimension") != width:
        raise spec.unsuited("dimension", f"the width of {SENTENCE}, {width}")
    return LayerNorm(width)


def _normalize(spec: ModuleSpec, widths: Widths) -> Normalize:
    spec.need_only(_NAME_KEYS)
    reads, writes = _names(spec)
    widths[writes] = _width(spec, reads, widths)
    return Normalize(reads, writes)


_BUILDERS: dict[str, Callable[[ModuleSpec, Widths], FeatureModule]] = {
    "Pooling": _pooling,
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Normalize": _normalize,
}


def _names(spec: ModuleSpec) -> tuple[str, str]:
    """Return the features that a module reads and writes."""
    reads = spec.text("module_input_name", SENTENCE)
    return reads, spec.text("module_output_name", reads)


def _width(spec: ModuleSpec, reads: str, widths: Widths) -> int:
    """Return the width of the feature that a module reads."""
    if reads not in widths:
        raise CheckpointError(
            f"{MODULES}: {spec.kind} in {spec.path!r} reads {reads}; the modules before it give "
            f"{', '.join(widths)}."
        )
    return widths[reads]
