"""The configuration of a ModernBERT encoder, from the contents of a ``config.json``.

The legacy keys (``global_attn_every_n_layers``, ``global_rope_theta``, ``local_rope_theta``) and
the current ones (``layer_types``, ``rope_parameters``) are read. A config whose keys contradict
each other is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mbert.errors import CheckpointError

from ..activations import ACTIVATION_FUNCTIONS

_ACTIVATIONS = tuple(ACTIVATION_FUNCTIONS)
CLASSIFIER_POOLINGS = ("cls", "mean")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

# Defaults of the published configuration class, for keys that a config.json leaves out.
DEFAULT_GLOBAL_THETA = 160_000.0
DEFAULT_LOCAL_THETA = 10_000.0
GLOBAL_WINDOW = -1

_LAYER_TYPES = ("full_attention", "sliding_attention")

T = TypeVar("T")


@dataclass(frozen=True)
class LayerConfig:
    """The part of the configuration that varies by layer.

    Attributes:
        window: -1 for global attention; otherwise keys with ``abs(i - j) <= window``.
        theta: base of the rotary frequencies.
    """

    window: int
    theta: float


@dataclass(frozen=True)
class ModelConfig:
    """A ModernBERT encoder and its head, with defaults filled in."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    max_position_embeddings: int
    layers: tuple[LayerConfig, ...]
    hidden_activation: str
    norm_eps: float
    norm_bias: bool
    attention_bias: bool
    mlp_bias: bool
    classifier_activation: str
    classifier_bias: bool
    classifier_pooling: str
    decoder_bias: bool
    tie_word_embeddings: bool
    id2label: tuple[str, ...]
    problem_type: str | None
    architectures: tuple[str, ...]

    @property
    def head_dim(self) -> int:
        """Channels per attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """Resolve the contents of a ``config.json``.

        Raises:
            CheckpointError: not a ModernBERT encoder, a value out of range, or contradicting keys.
        """
        _refuse_other_models(raw)
        num_layers = _positive(raw, "num_hidden_layers", 22)
        hidden_size = _positive(raw, "hidden_size", 768)
        num_heads = _positive(raw, "num_attention_heads", 12)
        if hidden_size % num_heads:
            raise CheckpointError(
                f"config.json: hidden_size {hidden_size} is not a multiple of "
                f"num_attention_heads {num_heads}."
            )
        head_dim = hidden_size // num_heads
        if raw.get("head_dim") not in (None, head_dim):
            raise CheckpointError(
                f"config.json: head_dim {raw['head_dim']} contradicts hidden_size / "
                f"num_attention_heads = {head_dim}."
            )
        if head_dim % 2:
            raise CheckpointError(f"config.json: head_dim {head_dim} is odd; rotary needs pairs.")
        window = _window(raw)
        thetas = _thetas(raw)
        layers = tuple(
            LayerConfig(GLOBAL_WINDOW if kind == "full_attention" else window, thetas[kind])
            for kind in _layer_types(raw, num_layers)
        )
        return cls(
            vocab_size=_positive(raw, "vocab_size", 50368),
            hidden_size=hidden_size,
            intermediate_size=_positive(raw, "intermediate_size", 1152),
            num_attention_heads=num_heads,
            max_position_embeddings=_positive(raw, "max_position_embeddings", 8192),
            layers=layers,
            hidden_activation=_choice(raw, "hidden_activation", "gelu", _ACTIVATIONS),
            norm_eps=_not_negative(raw, "norm_eps", 1e-5),
            norm_bias=_flag(raw, "norm_bias", False),
            attention_bias=_flag(raw, "attention_bias", False),
            mlp_bias=_flag(raw, "mlp_bias", False),
            classifier_activation=_choice(raw, "classifier_activation", "gelu", _ACTIVATIONS),
            classifier_bias=_flag(raw, "classifier_bias", False),
            classifier_pooling=_choice(raw, "classifier_pooling", "cls", CLASSIFIER_POOLINGS),
            decoder_bias=_flag(raw, "decoder_bias", True),
            tie_word_embeddings=_flag(raw, "tie_word_embeddings", True),
            id2label=_labels(raw),
            problem_type=_problem_type(raw),
            architectures=_architectures(raw),
        )


def _refuse_other_models(raw: Mapping[str, Any]) -> None:
    model_type = raw.get("model_type")
    if model_type != "modernbert":
        hint = (
            " A decoder attends causally, which no mbert operator computes."
            if model_type == "modernbert-decoder"
            else ""
        )
        raise CheckpointError(
            f"config.json: model_type is {model_type!r}; mbert runs ModernBERT encoders, "
            f"model_type 'modernbert'.{hint}"
        )
    for key in ("is_causal", "is_decoder", "add_cross_attention"):
        if raw.get(key):
            raise CheckpointError(
                f"config.json: {key} is true; mbert runs bidirectional encoders only."
            )


def _window(raw: Mapping[str, Any]) -> int:
    # local_attention counts both sides; the definition is abs(i - j) <= local_attention // 2.
    from_local = _at_least(raw, "local_attention", 0, lambda total: total // 2)
    from_sliding = _at_least(raw, "sliding_window", 0, lambda half: half)
    return _agreed("local_attention // 2", from_local, "sliding_window", from_sliding, 64)


def _layer_types(raw: Mapping[str, Any], num_layers: int) -> tuple[str, ...]:
    every = raw.get("global_attn_every_n_layers")
    from_pattern = None
    if every is not None or raw.get("layer_types") is None:
        n = _positive(raw, "global_attn_every_n_layers", 3)
        from_pattern = tuple(_LAYER_TYPES[bool(i % n)] for i in range(num_layers))
    listed = raw.get("layer_types")
    if listed is None:
        assert from_pattern is not None
        return from_pattern
    if not isinstance(listed, list) or any(kind not in _LAYER_TYPES for kind in listed):
        raise CheckpointError(
            f"config.json: layer_types is {listed!r}; expected a list of {_LAYER_TYPES}."
        )
    if len(listed) != num_layers:
        raise CheckpointError(
            f"config.json: layer_types names {len(listed)} layers, num_hidden_layers is "
            f"{num_layers}."
        )
    return _agreed(
        "layer_types", tuple(listed), "global_attn_every_n_layers", from_pattern, tuple(listed)
    )


def _thetas(raw: Mapping[str, Any]) -> dict[str, float]:
    parameters = raw.get("rope_parameters") or {}
    if not isinstance(parameters, dict) or set(parameters) - set(_LAYER_TYPES):
        raise CheckpointError(
            f"config.json: rope_parameters is {parameters!r}; expected an object with the keys "
            f"{_LAYER_TYPES}."
        )
    entries = {f"rope_parameters.{kind}": entry for kind, entry in parameters.items()}
    for where, entry in {**entries, "rope_scaling": raw.get("rope_scaling")}.items():
        if entry is not None and not isinstance(entry, dict):
            raise CheckpointError(f"config.json: {where} is {entry!r}; expected an object.")
        for key, plain in (("rope_type", "default"), ("type", "default"), ("factor", 1.0)):
            if entry and entry.get(key, plain) not in (None, plain):
                raise CheckpointError(
                    f"config.json: {where}.{key} is {entry[key]!r}; mbert computes the default "
                    "rotary embedding only."
                )
    current = {
        kind: _theta(entry, "rope_theta") for kind, entry in parameters.items() if entry is not None
    }
    legacy_global = _theta(raw, "global_rope_theta")
    legacy_local = _theta(raw, "local_rope_theta")
    if "local_rope_theta" in raw and legacy_local is None:
        legacy_local = legacy_global or DEFAULT_GLOBAL_THETA  # null: as in the global layers
    return {
        "full_attention": _agreed(
            "rope_parameters.full_attention.rope_theta",
            current.get("full_attention"),
            "global_rope_theta",
            legacy_global,
            DEFAULT_GLOBAL_THETA,
        ),
        "sliding_attention": _agreed(
            "rope_parameters.sliding_attention.rope_theta",
            current.get("sliding_attention"),
            "local_rope_theta",
            legacy_local,
            DEFAULT_LOCAL_THETA,
        ),
    }


def _theta(entry: Mapping[str, Any], key: str) -> float | None:
    if entry.get(key) is None:
        return None
    value = _number(entry, key, 0.0)
    if value <= 0:
        raise CheckpointError(f"config.json: {key} is {value}; expected a positive number.")
    return value


def _agreed(name_a: str, a: T | None, name_b: str, b: T | None, default: T) -> T:
    """Return the value of the key that is present; raise if both are and differ."""
    if a is not None and b is not None and a != b:
        raise CheckpointError(
            f"config.json contradicts itself: {name_a} says {a}, {name_b} says {b}. Remove the "
            "one that is wrong."
        )
    return a if a is not None else b if b is not None else default


def _labels(raw: Mapping[str, Any]) -> tuple[str, ...]:
    id2label = raw.get("id2label")
    if id2label is None:
        return tuple(f"LABEL_{i}" for i in range(_positive(raw, "num_labels", 2)))
    try:
        by_id = {int(key): str(label) for key, label in id2label.items()}
    except (AttributeError, ValueError):
        raise CheckpointError(
            f"config.json: id2label is {id2label!r}; expected an object from ids to labels."
        ) from None
    if not by_id or sorted(by_id) != list(range(len(by_id))):
        raise CheckpointError(
            f"config.json: id2label has the ids {sorted(by_id)}; expected 0, 1, ... without a gap."
        )
    return tuple(by_id[i] for i in range(len(by_id)))


def _problem_type(raw: Mapping[str, Any]) -> str | None:
    if raw.get("problem_type") is None:
        return None
    return _choice(raw, "problem_type", "", PROBLEM_TYPES)


def _architectures(raw: Mapping[str, Any]) -> tuple[str, ...]:
    names = raw.get("architectures")
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"config.json: architectures is {names!r}; expected a list of names.")
    return tuple(names)


def _number(raw: Mapping[str, Any], key: str, default: float) -> float:
    value = raw.get(key, default)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number):
                return number
    except OverflowError:
        pass
    raise CheckpointError(f"config.json: {key} is {value!r}; expected a finite number.")


def _not_negative(raw: Mapping[str, Any], key: str, default: float) -> float:
    value = _number(raw, key, default)
    if value < 0:
        raise CheckpointError(f"config.json: {key} is {value}; expected a number >= 0.")
    return value


def _positive(raw: Mapping[str, Any], key: str, default: int) -> int:
    value = raw.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise CheckpointError(f"config.json: {key} is {value!r}; expected a positive integer.")
    return value


def _at_least(
    raw: Mapping[str, Any], key: str, least: int, convert: Callable[[int], int]
) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise CheckpointError(f"config.json: {key} is {value!r}; expected an integer >= {least}.")
    return convert(value)


def _flag(raw: Mapping[str, Any], key: str, default: bool) -> bool:
    value = raw.get(key, default)
    if not isinstance(value, bool):
        raise CheckpointError(f"config.json: {key} is {value!r}; expected true or false.")
    return value


def _choice(raw: Mapping[str, Any], key: str, default: str, choices: tuple[str, ...]) -> str:
    value = raw.get(key, default)
    if value not in choices:
        raise CheckpointError(
            f"config.json: {key} is {value!r}; mbert supports {', '.join(choices)}."
        )
    return str(value)
