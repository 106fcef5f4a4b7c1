"""The manifest of a bundle: what it holds, for which task and target, and what was verified.

:mod:`mbert.runtime.manifest_reader` reads and checks ``manifest.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tasks.embedding import EmbeddingSettings
    from .tasks.multi_vector import MultiVectorSettings
    from .tasks.reranking import RerankingSettings

MANIFEST = "manifest.json"
# Raise it when an older reader would misread a bundle. A reader accepts every older format.
# 2: bundles for GPUs (`engine`, and signatures that an older reader would not feed).
FORMAT_VERSION = 2
HARDWARE_COMPATIBILITY = ("none", "same-compute-capability", "ampere-plus")
BACKENDS = ("onnxruntime", "tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the graph. A dimension is a number or the name of a symbol."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


def symbols_of(specs: Iterable[TensorSpec]) -> set[str]:
    """Return the symbols in the shapes of ``specs``. A dimension may be ``symbol + number``."""
    named = (dim for spec in specs for dim in spec.shape if isinstance(dim, str))
    return {dim.partition(" + ")[0] for dim in named}


@dataclass(frozen=True)
class Limits:
    """The largest call that the bundle takes."""

    max_tokens: int
    max_sequence_length: int
    max_sequences: int


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and sha256 of a file in the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Profile:
    """Sizes that an engine is built for: (min, opt, max) of each symbol in the signature."""

    name: str
    ranges: dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Engine:
    """The compiled form of a bundle for a GPU.

    Attributes:
        file: name within the bundle. None: the engine is built when the bundle is first loaded.
        compute_capability: of the GPU, for example "8.9".
        builder: library and version that built the engine. None if not built.
        gpu: name of the GPU that TensorRT built it on. None if not built, and for TensorRT-RTX.
        profiles: smallest first.
        activation_bytes: memory of each profile beside the weights, as the builder reported.
        tokens_multiple: the number of tokens of a call, and a padded length, is a multiple of it.
        hardware_compatibility: for TensorRT. "none": only the GPU model that it was built on;
            "same-compute-capability"; "ampere-plus": any GPU of compute capability 8.0 or newer.
            The last two may cost speed.
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
class Manifest:
    """The contents of ``manifest.json``.

    Attributes:
        model: shape of the encoder (vocab_size, hidden_size, layers, ...).
        operators: version of each custom operator in the graph.
        pooling: default pooling of feature-extraction bundles. None: the checkpoint pools in a way
            that mbert does not compute.
        labels: names of the columns of a classifier's logits.
        special_tokens: ids by role (cls, sep, pad, mask, unk).
        source: the checkpoint and its licence.
        embedding: how vectors are made and compared.
        reranking: how a classifier with one label scores a query with a document.
        late_interaction: how queries and documents of a multi-vector bundle are tokenized.
        engine: the compiled form. None for the CPU.
        calibration: data on which a reduced precision was calibrated, and the result.
        verification: what was compared at export, and the errors.
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
    embedding: EmbeddingSettings | None = None
    reranking: RerankingSettings | None = None
    engine: Engine | None = None
    calibration: dict[str, Any] | None = None
    late_interaction: MultiVectorSettings | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def reduced_on_cpu(self) -> bool:
        """True for reduced-precision CPU bundles, which are also checked by cosine."""
        return self.target == "cpu" and self.precision != "fp32"

    @property
    def vocab_size(self) -> int:
        """Number of token ids that the embedding table holds."""
        return int(self.model["vocab_size"])

    @property
    def width(self) -> int:
        """Number of values in a row of the graph's first output."""
        _, *columns = self.outputs[0].shape
        return int(columns[-1]) if columns else 1

    def to_json(self) -> str:
        """Serialise to indented JSON with a final newline."""
        return json.dumps(asdict(self), indent=2) + "\n"
