"""Dense embeddings: one vector for each text, from the graph or pooled from hidden states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbert.errors import InputError

from ..checks import flag, member, natural, prompts
from ..engine import Rows
from ..inputs import check_choice
from ..manifest import Limits
from ..model import LOOK_AHEAD, CallOptions, Model
from ..packing import TokenSequence
from ..prompts import resolve_prompt, with_prompt
from ..quantization import needs_ranges, quantized, resolve_ranges
from ..similarity import SIMILARITIES, normalized, pairwise, similarity
from ..tokenization import Text
from ..windows import OVERFLOWS
from .base import (
    OVERFLOW,
    PROMPT,
    STRIDE,
    Answer,
    Command,
    CommandOption,
    Operation,
    Task,
    TaskContext,
    beside,
    exact,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

FloatArray = NDArray[np.float32]

# Of hidden states, for feature-extraction.
POOLINGS = ("cls", "mean")


@dataclass(frozen=True)
class EmbeddingSettings:
    """How vectors are made and compared: ``embedding`` of the manifest.

    Attributes:
        prompts: texts to put in front of an input, by name.
        default_prompt: name of the prompt to use if the caller names none.
        similarity: one of ``SIMILARITIES``.
        dimensions: leading values of a vector to keep by default; None: all.
        normalized: True if the vectors have length 1.
        active: largest weights of a sparse vector to keep by default; None: all.
    """

    prompts: dict[str, str]
    default_prompt: str | None
    similarity: str
    dimensions: int | None
    normalized: bool
    active: int | None = None

    @classmethod
    def parse(cls, entry: Mapping[str, Any], vocab_size: int, limits: Limits) -> EmbeddingSettings:
        """Check the entry of a manifest; see :class:`mbert.runtime.tasks.base.TaskSettings`."""
        prompts("embedding", entry["prompts"], entry["default_prompt"])
        counts = {"dimensions": entry["dimensions"], "active": entry.get("active")}
        for key, value in counts.items():
            if value is not None:
                natural(f"embedding.{key}", value, 1)
        return cls(
            prompts=dict(entry["prompts"]),
            default_prompt=entry["default_prompt"],
            similarity=member("embedding.similarity", entry["similarity"], SIMILARITIES),
            normalized=flag("embedding.normalized", entry["normalized"]),
            **counts,
        )

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield name and value of each setting."""
        yield "vectors", f"compared by {self.similarity}{', of length 1' * self.normalized}"
        yield from describe_prompts(self.prompts, self.default_prompt)


def describe_prompts(texts: Mapping[str, str], default: str | None) -> Iterator[tuple[str, str]]:
    """Yield each prompt for ``mbert inspect``."""
    for name, text in texts.items():
        yield "prompt", f"{name}: {text!r}{' (default)' * (name == default)}"


class EmbedOptions(CallOptions, total=False):
    """Options of :meth:`Embedder.embed`."""

    prompt: str | None
    pooling: str | None
    dimensions: int | None
    normalize: bool | None
    dtype: str
    ranges: ArrayLike | None
    calibration: ArrayLike | None
    overflow: str | None
    stride: int | None


class Embed(Operation[Text, FloatArray]):
    """Embed texts; long ones as the mean of their windows."""

    def __init__(
        self,
        context: TaskContext,
        *,
        prompt: str | None = None,
        pooling: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        dtype: str = "float32",
        ranges: ArrayLike | None = None,
        calibration: ArrayLike | None = None,
        overflow: str | None = None,
        stride: int | None = None,
    ) -> None:
        """Check the options of :meth:`Embedder.embed`."""
        super().__init__(context)
        manifest, own = context.manifest, context.manifest.embedding
        if own is None:
            self.pooling: str | None = _pooling(pooling, manifest.pooling)
        elif pooling is None:
            self.pooling = None
        else:
            raise InputError(
                f"pooling is {pooling!r}; this {manifest.task} bundle pools as its checkpoint "
                "does. Export with --task feature-extraction for another pooling."
            )
        if dimensions is not None and (
            not isinstance(dimensions, int) or not 1 <= dimensions <= manifest.width
        ):
            raise InputError(f"dimensions is {dimensions!r}; expected 1 to {manifest.width}.")
        self.prompt = resolve_prompt(prompt, own)
        self.dimensions = dimensions or (own.dimensions if own else None)
        self.normalize = (own is None or own.normalized) if normalize is None else normalize
        self.dtype = dtype
        self.ranges = resolve_ranges(dtype, ranges, calibration)
        self.overflow = context.resolve_overflow(overflow, stride, known=OVERFLOWS)
        self.stride = stride
        self._excludes_prompt = any(spec.name == "counted_rows" for spec in manifest.inputs)

    def encode(self, inputs: Sequence[Text], first: int = 0) -> list[list[TokenSequence]]:
        """Return the windows of each text; their source is the number of new tokens."""
        texts = [with_prompt(self.prompt, text) for text in inputs]
        tokenizer = self.context.tokenizer
        excluded = 0
        if self.prompt and self._excludes_prompt:
            excluded = tokenizer.prompt_length(self.prompt)
        if self.overflow != "window":
            ids = tokenizer.encode(texts, self.overflow, first=first)
            return [[TokenSequence(sequence, excluded)] for sequence in ids]
        windows = tokenizer.windows(texts, self.stride, first=first, prompt=len(self.prompt))
        return [[TokenSequence(w.ids, excluded, source=w.new_tokens) for w in ws] for ws in windows]

    def reduce(self, rows: Rows, sequence: TokenSequence) -> tuple[FloatArray, int]:
        """Return the window's vector and its number of new tokens."""
        vector: FloatArray = rows[0] if self.pooling is None else pool(rows[0], self.pooling)
        return vector, sequence.source

    def decode(self, parts: Sequence[tuple[FloatArray, int]]) -> FloatArray:
        """Return the mean of the windows' vectors, weighted by their new tokens."""
        if len(parts) == 1:
            return parts[0][0]
        weights = np.array([new for _, new in parts], np.float64)[:, None]
        vectors = np.stack([vector for vector, _ in parts])
        mean: NDArray[np.float64] = (vectors * weights).sum(axis=0) / max(weights.sum(), 1)
        return mean.astype(np.float32)

    def collect(self, results: list[FloatArray]) -> NDArray[Any]:
        """Return the vectors as rows: cut, then scaled to length 1, then quantised."""
        empty = np.zeros((0, self.context.manifest.width), np.float32)
        vectors = (np.stack(results) if results else empty)[:, : self.dimensions]
        if self.normalize:
            vectors = normalized(vectors)
        return quantized(vectors, self.dtype, self.ranges)


def _pooling(requested: str | None, default: str | None) -> str:
    pooling = requested or default
    if pooling is None:
        raise InputError(
            "The checkpoint pools in a way that this bundle lacks (see its modules.json). Pass "
            f"pooling= one of {', '.join(POOLINGS)} if that is what you want."
        )
    return check_choice("pooling", pooling, POOLINGS)


def pool(hidden: FloatArray, pooling: str) -> FloatArray:
    """[tokens, hidden] -> [hidden]: the first token's, or the mean in float64."""
    if pooling == "cls":
        first: FloatArray = hidden[0].copy()
        return first
    mean: NDArray[np.float64] = np.add.reduce(hidden, axis=0, dtype=np.float64) / len(hidden)
    return mean.astype(np.float32)


class Embedder(Model):
    """Dense embeddings: bundles for sentence-similarity and feature-extraction."""

    overflows = OVERFLOWS

    @property
    def dimension(self) -> int:
        """Number of values of a vector, unless :meth:`embed` is asked for fewer."""
        own = self.info.embedding
        return (own.dimensions if own else None) or self.info.width

    def embed(
        self,
        texts: str | Iterable[Text],
        *,
        prompt: str | None = None,
        pooling: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        dtype: str = "float32",
        ranges: ArrayLike | None = None,
        calibration: ArrayLike | None = None,
        overflow: str | None = None,
        stride: int | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> NDArray[Any]:
        """Embed texts.

        Args:
            texts: one text (the result is a vector) or several texts or pairs (one row each).
            prompt: put in front of each text: a name of ``info.embedding.prompts``, or the text
                itself; None: the checkpoint's default; "": nothing.
            pooling: feature-extraction only: "cls" or "mean"; None: the checkpoint's, or mean if it
                says nothing.
            dimensions: number of leading values to keep, for checkpoints trained for that
                (Matryoshka); None: the checkpoint's.
            normalize: scale each vector to length 1, after the cut, so that a dot product is the
                cosine; None: as the checkpoint does, and True for feature-extraction.
            dtype: "float32"; "int8" or "uint8": each value's place in the range of its dimension;
                "binary" or "ubinary": one bit for each dimension (docs/embeddings.md).
            ranges: [2, dim], smallest and largest values, for int8 and uint8.
            calibration: [n, dim], embeddings whose ranges to use instead. With neither, the ranges
                are those of this result, and vectors of different calls cannot be compared.
            overflow: for a text that is too long: "error"; "truncate"; or "window": embed
                overlapping windows and return their mean, weighted by each window's new tokens.
                None: the model's default, which is "error" unless set at load.
            stride: tokens that neighbouring windows share; None: an eighth of a window.
            batch_tokens: tokens of a packed batch; None: 2,048 on a CPU.
            progress: show a progress bar on standard error if that is a terminal.

        Returns:
            float32 [dim] or [n, dim]; int8 or uint8 [n, dim], or bits [n, ceil(dim / 8)].

        Raises:
            InputError: a text that is too long, or an invalid option.
        """
        operation = Embed(
            self.context,
            prompt=prompt,
            pooling=pooling,
            dimensions=dimensions,
            normalize=normalize,
            dtype=dtype,
            ranges=ranges,
            calibration=calibration,
            overflow=overflow,
            stride=stride,
        )
        vectors: NDArray[Any] = self._apply_to_texts(operation, texts, batch_tokens, progress)
        return vectors

    def embed_iter(
        self,
        texts: Iterable[Text],
        *,
        look_ahead: int = LOOK_AHEAD,
        **options: Unpack[EmbedOptions],
    ) -> Iterator[NDArray[Any]]:
        """Embed any number of texts in bounded memory.

        Args:
            texts: texts or pairs, read in blocks when their vectors are due.
            look_ahead: the largest block; blocks start with one text and double.
            options: as for :meth:`embed`; int8 and uint8 need ``ranges`` or ``calibration``.

        Yields:
            One vector for each text, in order.

        Raises:
            InputError: as :meth:`embed`; an error in a text when the first vector of its block is
                due.
        """
        if needs_ranges(options.get("dtype", "float32")) and (
            options.get("ranges") is None and options.get("calibration") is None
        ):
            raise InputError(
                f"dtype is {options['dtype']!r}; embed_iter reads texts in blocks, whose ranges "
                "differ. Pass ranges= or calibration=."
            )
        return self._stream(Embed, texts, look_ahead, options)

    def similarity(self, a: ArrayLike, b: ArrayLike) -> FloatArray:
        """Compare embeddings by ``info.embedding.similarity``, or else by cosine.

        Args:
            a: [n, dim], or [dim] for one.
            b: [m, dim], or [dim] for one.

        Returns:
            float32 [n, m], every row of ``a`` with every row of ``b``, larger for more similar
            vectors: cosine, dot product, or negated distance (euclidean, manhattan).

        Raises:
            InputError: no vectors, or of different widths.
        """
        return similarity(a, b, self._similarity)

    def similarity_pairwise(self, a: ArrayLike, b: ArrayLike) -> FloatArray:
        """Compare each row of ``a`` with the same row of ``b``: float32 [n].

        Raises:
            InputError: no vectors, of different widths, or different numbers of them.
        """
        return pairwise(a, b, self._similarity)

    @property
    def _similarity(self) -> str:
        own = self.info.embedding
        return own.similarity if own else "cosine"


_DIMENSIONS = CommandOption("dimensions", "Leading values of each vector to keep.", minimum=1)
_POOLING = CommandOption("pooling", "How to pool hidden states.", choices=POOLINGS)


def _answers(model: Embedder, texts: Iterator[str], **options: Any) -> Iterator[Answer]:
    for text, vector in beside(texts, lambda several: model.embed_iter(several, **options)):
        head = " ".join(f"{value:+.4f}" for value in vector[:6])
        shown = f"  [{head} ...] {vector.size} dimensions"
        yield text, shown, {"embedding": exact(vector)}


Embedder.commands = (Command(_answers, (PROMPT, _DIMENSIONS, _POOLING, OVERFLOW, STRIDE)),)

MODELS: tuple[type[Model], ...] = (Embedder,)
TASKS = (
    Task(
        "sentence-similarity",
        outputs={"embedding": "sequences"},
        model=lambda manifest: Embedder,
        settings={"embedding": EmbeddingSettings},
        required="embedding",
    ),
    Task(
        "feature-extraction",
        outputs={"last_hidden_state": "tokens"},
        model=lambda manifest: Embedder,
    ),
)
