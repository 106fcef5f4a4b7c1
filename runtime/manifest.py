"""``manifest.json``: what a bundle is, for which task and target, and what was verified."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mbert.errors import BundleError

from .late_interaction import LateInteraction

MANIFEST = "manifest.json"
# Raised when an older reader would misread a bundle; every reader accepts all older formats.
# 2: bundles for GPUs (`engine`, and signatures that an older reader would not feed).
FORMAT_VERSION = 2
# The outputs of each task's graph by name, in their order, and what their rows are.
OUTPUTS = {
    "feature-extraction": {"last_hidden_state": "tokens"},
    "sentence-similarity": {"embedding": "sequences"},
    "fill-mask": {"logits": "masks"},
    "text-classification": {"logits": "sequences"},
    "token-classification": {"logits": "tokens"},
    "question-answering": {"start_logits": "tokens", "end_logits": "tokens"},
    "sparse-embedding": {"weights": "sequences"},
    "multi-vector": {"token_embeddings": "tokens"},
}
# Those whose last output dimension is the labels.
LABELLED = ("text-classification", "token-classification")
# Version of each operator's contract that this runtime computes.
OPERATOR_VERSIONS = {
    "VarlenAttention": 1,
    "VarlenPooling": 1,
    "Linear": 1,
    "ResidualLinear": 1,
    "NormLinear": 1,
    "NormGatedLinear": 1,
    "QuantizedLinear": 1,
    "QuantizedResidualLinear": 1,
    "QuantizedNormLinear": 1,
    "QuantizedNormGatedLinear": 1,
}
HARDWARE_COMPATIBILITY = ("none", "same-compute-capability", "ampere-plus")
BACKENDS = ("onnxruntime", "tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
# What a cross encoder makes of its logits; the names are PyTorch's.
ACTIVATIONS = ("Identity", "Sigmoid", "Tanh", "ReLU")
_SINCE_FORMAT_2 = ("engine", "calibration")
# Keys that only add something: a bundle of before has none.
_ADDED = ("late_interaction", "embedding", "reranking")


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output; a dimension is a number or the name of a symbol."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


def symbols_of(specs: Iterable[TensorSpec]) -> set[str]:
    """The symbols in the shapes of ``specs``; a dimension may be ``symbol + number``."""
    named = (dim for spec in specs for dim in spec.shape if isinstance(dim, str))
    return {dim.partition(" + ")[0] for dim in named}


@dataclass(frozen=True)
class Limits:
    """The largest call that the bundle was made for."""

    max_tokens: int
    max_sequence_length: int
    max_sequences: int


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and sha256 of a file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Profile:
    """Sizes that an engine is built for: (least, best, largest) of each symbol of the signature."""

    name: str
    ranges: dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Engine:
    """The compiled form of a bundle for a GPU.

    Attributes:
        file: name within the bundle; None: it is built when the bundle is first loaded.
        compute_capability: of the GPU, "8.9" for instance.
        builder: library and version that built it; None when not built.
        gpu: name of the GPU that TensorRT built it on; None when not built, and for TensorRT-RTX.
        profiles: smallest first.
        activation_bytes: what each profile needs beside the weights, as the builder reported.
        tokens_multiple: what the number of tokens of a call, and a padded length, is a multiple of.
        hardware_compatibility: of TensorRT: "none", the very GPU that it was built on;
            "same-compute-capability"; "ampere-plus", any GPU of 8.0 or newer. The last two may
            cost speed.
    """

    file: str | None
    compute_capability: str
    builder: str | None
    profiles: tuple[Profile, ...]
    activation_bytes: tuple[int, ...] = ()
    tokens_multiple: int = 1
    hardware_compatibility: str = "none"
    gpu: str | None = None


@dataclass(frozen=True)
class Embedding:
    """How the vectors of a sentence-similarity or sparse-embedding bundle are made and compared.

    Attributes:
        prompts: by name, what is put in front of a text.
        default_prompt: the name of the one that is used where none is asked for.
        similarity: one of ``SIMILARITIES``.
        dimensions: how many of a vector's first values are kept unless the caller says; None: all.
        normalized: whether the vectors have length 1.
        active: how many weights of a sparse vector are kept unless the caller says, the largest;
            None: all.
    """

    prompts: dict[str, str]
    default_prompt: str | None
    similarity: str
    dimensions: int | None
    normalized: bool
    active: int | None = None


@dataclass(frozen=True)
class Reranking:
    """How a text-classification bundle of one label scores a query with a document.

    Attributes:
        activation: one of ``ACTIVATIONS``, of the logit.
        prompts: by name, what is put in front of a query.
        default_prompt: the name of the one that is used where none is asked for.
    """

    activation: str
    prompts: dict[str, str]
    default_prompt: str | None


@dataclass(frozen=True)
class Manifest:
    """The contents of ``manifest.json``.

    ``model`` is the encoder's shape (vocab_size, hidden_size, layers, ...), ``pooling`` the default
    of :meth:`mbert.Model.embed` (None: the checkpoint's own pooling is not one that mbert
    computes), ``special_tokens`` ids by role (cls, sep, pad, mask, unk), ``source`` the checkpoint
    and its licence, ``embedding`` for sentence-similarity and sparse-embedding, ``reranking`` for
    text-classification with one label, ``verification`` what was compared at export and the
    figures, ``calibration`` what a reduced precision's export was calibrated on, and what it found,
    ``late_interaction`` how queries and documents of a multi-vector bundle become tokens.
    """

    mbert_version: str
    task: str
    precision: str
    target: str
    backend: str
    operators: dict[str, int]
    model: dict[str, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    limits: Limits
    pooling: str | None
    labels: tuple[str, ...] | None
    problem_type: str | None
    special_tokens: dict[str, int]
    source: dict[str, str | None]
    embedding: Embedding | None = None
    reranking: Reranking | None = None
    engine: Engine | None = None
    calibration: dict[str, Any] | None = None
    late_interaction: LateInteraction | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def reduced_on_cpu(self) -> bool:
        """Whether a CPU computes it in less than float32, which the export judges by direction."""
        return self.target == "cpu" and self.precision != "fp32"

    def to_json(self) -> str:
        """Serialise, indented, with a final newline."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, bundle: Path) -> Manifest:
        """Read the manifest of the bundle folder ``bundle``.

        Raises:
            BundleError: no bundle there, a newer format, or a manifest that makes no sense.
        """
        path = bundle / MANIFEST
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(
                f"{bundle} is not a bundle: it has no {MANIFEST}. Make one with "
                "`mbert-export CHECKPOINT -o BUNDLE`."
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"{path} cannot be read as JSON: {error}. Export again.") from error
        found = raw.get("format_version") if isinstance(raw, dict) else None
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise BundleError(f"{path}: format_version is {found!r}; expected a number from 1 on.")
        if found > FORMAT_VERSION:
            raise BundleError(
                f"{bundle} is of bundle format {found}, written by mbert "
                f"{raw.get('mbert_version', 'of unknown version')}; this version reads formats up "
                f"to {FORMAT_VERSION}. Update mbert, or export again with this version."
            )
        try:
            return _parse(raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"{path} is damaged ({type(error).__name__}: {error}). Export again."
            ) from error


def _parse(raw: dict[str, Any]) -> Manifest:
    """Build the manifest; whatever later code relies on is checked here."""
    # Keys that are not known were added, within the format, by a later version.
    if raw["format_version"] < 2:
        raw = {**raw, **dict.fromkeys(_SINCE_FORMAT_2)}
    raw = {**dict.fromkeys(_ADDED), **raw}
    values = {entry.name: raw[entry.name] for entry in fields(Manifest)}
    if raw["task"] not in OUTPUTS:
        raise ValueError(f"task is {raw['task']!r}, expected one of {', '.join(OUTPUTS)}")
    values["inputs"] = tuple(_tensor_spec(entry) for entry in raw["inputs"])
    values["outputs"] = tuple(_tensor_spec(entry) for entry in raw["outputs"])
    rows = [(spec.name, *spec.shape[:1]) for spec in values["outputs"]]
    expected = list(OUTPUTS[raw["task"]].items())
    if rows != expected:
        raise ValueError(f"outputs and what their rows are: {rows}, expected {expected}")
    values["limits"] = Limits(**raw["limits"])
    for key, limit in raw["limits"].items():
        _natural(f"limits.{key}", limit, 1)
    for key in ("vocab_size", "hidden_size"):
        _natural(f"model.{key}", raw["model"][key], 1)
    for key, token_id in raw["special_tokens"].items():
        _natural(f"special_tokens.{key}", token_id, 0)
    for key, known in (("backend", BACKENDS), ("precision", PRECISIONS)):
        if raw[key] not in known:
            raise ValueError(f"{key} is {raw[key]!r}, expected one of {', '.join(known)}")
    values["files"] = {name: FileEntry(**entry) for name, entry in raw["files"].items()}
    if values["engine"] is not None:
        values["engine"] = _engine(values["engine"], values["inputs"], raw["files"])
    if values["late_interaction"] is not None:
        values["late_interaction"] = LateInteraction.parse(
            values["late_interaction"],
            raw["model"]["vocab_size"],
            values["limits"].max_sequence_length,
        )
    if raw["task"] == "sentence-similarity" or raw["embedding"] is not None:
        values["embedding"] = _embedding(raw["embedding"])
        _natural("the width of an embedding", values["outputs"][0].shape[-1], 1)
    if raw["reranking"] is not None:
        values["reranking"] = _reranking(raw["reranking"])
    if raw["labels"] is not None:
        values["labels"] = tuple(str(label) for label in raw["labels"])
    columns = values["outputs"][0].shape[-1]
    if raw["task"] in LABELLED and len(values["labels"] or ()) != columns:
        raise ValueError(f"labels is {raw['labels']!r}, expected {columns} names")
    for name, version in raw["operators"].items():
        if OPERATOR_VERSIONS.get(name) != version:
            raise ValueError(f"operator {name} version {version} is not one that mbert computes")
    for name in values["files"]:
        # No path may leave the bundle: names are relative, and never climb.
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts or not parts or "\0" in name:
            raise ValueError(f"file {name!r} lies outside the bundle")
    return Manifest(**values)


def _embedding(entry: dict[str, Any]) -> Embedding:
    entry = {"active": None, **entry}  # added later, within the format
    embedding = Embedding(**{key.name: entry[key.name] for key in fields(Embedding)})
    _check_prompts("embedding", embedding)
    if embedding.similarity not in SIMILARITIES:
        raise ValueError(f"embedding.similarity is {embedding.similarity!r}")
    if not isinstance(embedding.normalized, bool):
        raise ValueError(f"embedding.normalized is {embedding.normalized!r}")
    for key in ("dimensions", "active"):
        if entry[key] is not None:
            _natural(f"embedding.{key}", entry[key], 1)
    return embedding


def _reranking(entry: dict[str, Any]) -> Reranking:
    reranking = Reranking(**{key.name: entry[key.name] for key in fields(Reranking)})
    _check_prompts("reranking", reranking)
    if reranking.activation not in ACTIVATIONS:
        raise ValueError(f"reranking.activation is {reranking.activation!r}")
    return reranking


def _check_prompts(what: str, settings: Embedding | Reranking) -> None:
    texts = (*settings.prompts, *settings.prompts.values())
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{what}.prompts is {settings.prompts!r}")
    if settings.default_prompt not in (None, *settings.prompts):
        raise ValueError(f"{what}.default_prompt is {settings.default_prompt!r}")


def _engine(
    entry: dict[str, Any], inputs: tuple[TensorSpec, ...], files: Collection[str]
) -> Engine:
    symbols = symbols_of(inputs)
    profiles = tuple(
        Profile(str(profile["name"]), {key: _range(key, r) for key, r in profile["ranges"].items()})
        for profile in entry["profiles"]
    )
    if not profiles or any(set(profile.ranges) != symbols for profile in profiles):
        raise ValueError(f"engine.profiles have not the symbols of the inputs, {sorted(symbols)}")
    _natural("engine.tokens_multiple", entry["tokens_multiple"], 1)
    if not re.fullmatch(r"\d+\.\d", entry["compute_capability"]):
        raise ValueError(f"engine.compute_capability is {entry['compute_capability']!r}")
    if entry["hardware_compatibility"] not in HARDWARE_COMPATIBILITY:
        raise ValueError(f"engine.hardware_compatibility is {entry['hardware_compatibility']!r}")
    if entry["file"] is not None and entry["file"] not in files:
        raise ValueError(f"engine.file is {entry['file']!r}, which is not one of the files")
    plain = ("file", "compute_capability", "builder", "hardware_compatibility", "gpu")
    return Engine(
        **{key: entry[key] for key in plain},
        tokens_multiple=entry["tokens_multiple"],
        profiles=profiles,
        activation_bytes=tuple(map(int, entry["activation_bytes"])),
    )


def _range(symbol: str, values: list[int]) -> tuple[int, int, int]:
    least, best, most = values
    _natural(f"range of {symbol}", least, 0)
    _natural(f"range of {symbol}", best, least)
    _natural(f"range of {symbol}", most, best)
    return least, best, most


def _natural(what: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{what} is {value!r}, expected an integer from {least} on")


def _tensor_spec(entry: dict[str, Any]) -> TensorSpec:
    return TensorSpec(entry["name"], entry["dtype"], tuple(entry["shape"]))
