"""What follows the encoder in a sentence-transformers folder: pooling, projections, norms.

As in sentence-transformers each module reads one named feature and writes one. Token features are
[tokens, width] and a text's are [sequences, width], packed like everything else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbert.errors import CheckpointError

from ..operators.pooling import POOLING_MODES, varlen_pooling
from .module_spec import MODULES, WIDTH_KEYS, ModuleSpec

TOKENS = "token_embeddings"
SENTENCE = "sentence_embedding"

Features = dict[str, Tensor]
Widths = dict[str, int]

# By the last name of the class; each with its defaults, which is how they are loaded there as well.
ACTIVATIONS: dict[str, type[nn.Module]] = {
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
_DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function", "use_residual")


@dataclass(frozen=True)
class Packing:
    """Where the sequences lie, and which of their tokens count in pooling.

    Attributes:
        cu_seqlens: int32 [sequences + 1].
        counted_rows: int32 [tokens]: the rows that count, sequence by sequence; the rest is slack.
            None: all of them.
        counted_offsets: int32 [sequences + 1]: cumulative numbers of counted rows.
    """

    cu_seqlens: Tensor
    counted_rows: Tensor | None = None
    counted_offsets: Tensor | None = None


class Step(nn.Module):
    """A module of the chain: from the features before it to the one that it writes."""

    reads: str
    writes: str

    def width_of_input(self, spec: ModuleSpec, widths: Widths) -> int:
        """The width of the feature that is read.

        Raises:
            CheckpointError: no module before this one writes it.
        """
        if self.reads not in widths:
            raise CheckpointError(
                f"{MODULES}: {spec.kind} in {spec.path!r} reads {self.reads}; the modules before "
                f"it give {', '.join(widths)}."
            )
        return widths[self.reads]

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[rows, width] -> [rows, width of the output]."""
        raise NotImplementedError


class Pooling(Step):
    """One vector for each sequence; those of several modes lie side by side."""

    reads = TOKENS
    writes = SENTENCE

    def __init__(self, spec: ModuleSpec, widths: Widths) -> None:
        """Make the module that ``spec`` describes."""
        super().__init__()
        spec.need_only((*WIDTH_KEYS, *_MODE_OF_FLAG, "pooling_mode", "include_prompt"))
        self.modes = pooling_modes(spec)
        self.includes_prompt = spec.flag("include_prompt", True)
        width = self.width_of_input(spec, widths)
        for key in WIDTH_KEYS:
            if key in spec.settings and spec.number(key) != width:
                raise spec.unsuited(key, f"the width of {TOKENS}, {width}")
        widths[SENTENCE] = width * len(self.modes)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[tokens, width] -> [sequences, width * modes]."""
        offsets = packing.cu_seqlens
        skipped = None
        if not self.includes_prompt and packing.counted_rows is not None:
            assert packing.counted_offsets is not None
            skipped = offsets.diff() - packing.counted_offsets.diff()
            offsets = packing.counted_offsets
            x = F.embedding(packing.counted_rows.clamp(0, x.shape[0] - 1), x)
        pooled = [self._pool(x, offsets, mode, skipped) for mode in self.modes]
        return torch.cat(pooled, dim=-1) if len(pooled) > 1 else pooled[0]

    @staticmethod
    def _pool(x: Tensor, offsets: Tensor, mode: str, skipped: Tensor | None) -> Tensor:
        pooled = varlen_pooling(x, offsets, mode)
        if mode != "weightedmean" or skipped is None:
            return pooled
        # The weights are places in the whole sequence: those among the counted rows, and the number
        # of skipped ones for each. Over n rows they sum to n (n + 1) / 2 and n * skipped.
        twice = 2 * skipped.float()
        share = (twice / (offsets.diff().float() + 1 + twice)).to(x.dtype)
        return pooled + share[:, None] * (varlen_pooling(x, offsets, "mean") - pooled)


class _Named(Step):
    """A step whose settings may name what it reads and writes."""

    NAMES = ("module_input_name", "module_output_name")

    def __init__(self, spec: ModuleSpec) -> None:
        """Read the names."""
        super().__init__()
        self.reads, self.writes = _names(spec)


class Dense(_Named):
    """A linear layer and an activation, perhaps with a residual."""

    def __init__(self, spec: ModuleSpec, widths: Widths) -> None:
        """Make the module that ``spec`` describes."""
        super().__init__(spec)
        spec.need_only((*self.NAMES, *_DENSE_KEYS))
        width = self.width_of_input(spec, widths)
        inputs, outputs = spec.number("in_features"), spec.number("out_features")
        if inputs != width:
            raise spec.unsuited("in_features", f"the width of {self.reads}, {width}")
        self.linear = nn.Linear(inputs, outputs, bias=spec.flag("bias", True))
        self.activation = _activation(spec)
        self.has_residual = spec.flag("use_residual", False)
        self.residual: nn.Module = nn.Identity()
        if self.has_residual and inputs != outputs:
            self.residual = nn.Linear(inputs, outputs, bias=False)
        widths[self.writes] = outputs

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[rows, in_features] -> [rows, out_features]."""
        y = self.activation(self.linear(x))
        return y + self.residual(x) if self.has_residual else y


class LayerNorm(Step):
    """Layer norm of the text's vector."""

    reads = writes = SENTENCE

    def __init__(self, spec: ModuleSpec, widths: Widths) -> None:
        """Make the module that ``spec`` describes."""
        super().__init__()
        spec.need_only(("dimension",))
        width = self.width_of_input(spec, widths)
        if spec.number("dimension") != width:
            raise spec.unsuited("dimension", f"the width of {SENTENCE}, {width}")
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[sequences, width] -> [sequences, width]."""
        return self.norm(x)


class Normalize(_Named):
    """Scale each row to length 1."""

    def __init__(self, spec: ModuleSpec, widths: Widths) -> None:
        """Make the module that ``spec`` describes."""
        super().__init__(spec)
        spec.need_only(self.NAMES)
        widths[self.writes] = self.width_of_input(spec, widths)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[rows, width] -> [rows, width]."""
        # Squares of half precision overflow early.
        work = x if x.dtype == torch.float64 else x.float()
        return F.normalize(work, dim=-1).to(x.dtype)


_STEPS: dict[str, type[Step]] = {
    kind.__name__: kind for kind in (Pooling, Dense, LayerNorm, Normalize)
}
# Of no effect when nothing is trained.
_IGNORED = ("Dropout",)


class Chain(nn.Module):
    """The modules after the encoder, in order."""

    def __init__(self, modules: Sequence[ModuleSpec], width: int) -> None:
        """Make the modules for an encoder of ``width`` channels.

        Raises:
            CheckpointError: a module, a setting or a width that does not fit; it is named.
        """
        super().__init__()
        transformer, *rest = modules
        transformer.need_one_of("transformer_task", ["feature-extraction"])
        transformer.need_one_of("module_output_name", [TOKENS])
        self.specs = [spec for spec in rest if spec.kind not in _IGNORED]
        self.widths: Widths = {TOKENS: width}
        self.steps = nn.ModuleList(_step(spec, self.widths) for spec in self.specs)

    def forward(self, hidden: Tensor, packing: Packing) -> Features:
        """[tokens, hidden] -> every feature by its name, as the last module left it."""
        features = {TOKENS: hidden}
        for step in self.steps:
            assert isinstance(step, Step)
            features[step.writes] = step(features[step.reads], packing)
        return features


def scales_text(spec: ModuleSpec) -> bool:
    """Whether a module scales a text's vector to length 1, and does no more."""
    return spec.kind == "Normalize" and _names(spec) == (SENTENCE, SENTENCE)


def activation_kind(name: object, kinds: Collection[str]) -> str | None:
    """The one of ``kinds`` that a dotted name in torch.nn ends with; None where it is no such."""
    library, _, kind = str(name).rpartition(".")
    return kind if library.split(".")[:2] == ["torch", "nn"] and kind in kinds else None


def pooling_modes(spec: ModuleSpec) -> tuple[str, ...]:
    """The modes of a Pooling, in the order of their vectors.

    Raises:
        CheckpointError: a mode that mbert does not compute, or none.
    """
    if "pooling_mode" in spec.settings:  # newer folders name the modes themselves
        named = spec.settings["pooling_mode"]
        modes = tuple(named) if isinstance(named, list) else (named,)
    else:
        modes = tuple(mode for flag, mode in _MODE_OF_FLAG.items() if spec.flag(flag, False))
        modes = modes or ("mean",)
    if not modes or any(mode not in list(POOLING_MODES) for mode in modes):
        raise spec.unsuited("pooling_mode", f"some of {', '.join(POOLING_MODES)}")
    return modes


def _names(spec: ModuleSpec) -> tuple[str, str]:
    """What a module with names reads and writes."""
    reads = spec.text("module_input_name", SENTENCE)
    return reads, spec.text("module_output_name", reads)


def _step(spec: ModuleSpec, widths: Widths) -> Step:
    if spec.kind not in _STEPS:
        raise CheckpointError(
            f"{MODULES}: {spec.kind} in {spec.path!r} is not a module that mbert computes: "
            f"{', '.join((*_STEPS, *_IGNORED))}."
        )
    return _STEPS[spec.kind](spec, widths)


def _activation(spec: ModuleSpec) -> nn.Module:
    """The activation of a Dense, named by its class; tanh where it names none."""
    name = spec.text("activation_function", "torch.nn.Tanh")
    kind = activation_kind(name, ACTIVATIONS)
    if kind is None:
        raise spec.unsuited("activation_function", f"one of torch.nn: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[kind]()
