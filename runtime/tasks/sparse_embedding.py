"""Sparse embeddings (SPLADE): weights of the vocabulary's tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ..engine import Rows
from ..inputs import check_top_k
from ..model import LOOK_AHEAD, CallOptions, Model
from ..packing import TokenSequence
from ..prompts import resolve_prompt, with_prompt
from ..tokenization import Text
from .base import (
    OVERFLOW,
    PROMPT,
    TOP_K,
    Answer,
    Command,
    Operation,
    Task,
    TaskContext,
    beside,
    exact,
)
from .embedding import EmbeddingSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Tokens that the command line prints of each text by default.
_SHOWN_TOKENS = 10


@dataclass(frozen=True)
class SparseEmbedding:
    """The nonzero weights of a text.

    Attributes:
        indices: int32 [active], token ids, ascending.
        values: float32 [active], the weight of each.
    """

    indices: NDArray[np.int32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class TokenWeight:
    """A token, as the vocabulary spells it ("Ġriver"), and its weight."""

    token: str
    token_id: int
    weight: float


class SparseOptions(CallOptions, total=False):
    """Options of :meth:`SparseEmbedder.embed`."""

    prompt: str | None
    top_k: int | None
    overflow: str | None


class EmbedSparse(Operation[Text, SparseEmbedding]):
    """Embed texts as weights of the vocabulary's tokens."""

    def __init__(
        self,
        context: TaskContext,
        *,
        prompt: str | None = None,
        top_k: int | None = None,
        overflow: str | None = None,
    ) -> None:
        """Check the options of :meth:`SparseEmbedder.embed`."""
        super().__init__(context)
        check_top_k(top_k)
        own = context.manifest.embedding
        self.top_k = own.active if top_k is None and own is not None else top_k
        self.prompt = resolve_prompt(prompt, own)
        self.overflow = context.resolve_overflow(overflow)

    def encode(self, inputs: Sequence[Text], first: int = 0) -> list[list[TokenSequence]]:
        """Return one sequence for each text."""
        texts = [with_prompt(self.prompt, text) for text in inputs]
        ids = self.context.tokenizer.encode(texts, self.overflow, first=first)
        return [[TokenSequence(sequence)] for sequence in ids]

    def reduce(self, rows: Rows, sequence: TokenSequence) -> SparseEmbedding:
        """Return the nonzero weights, the ``top_k`` largest of them."""
        return sparse(rows[0], self.top_k)


def sparse(weights: NDArray[np.float32], top_k: int | None) -> SparseEmbedding:
    """[vocab] -> its nonzero entries, the ``top_k`` largest of them."""
    active = np.flatnonzero(weights)
    if top_k is not None and active.size > top_k:
        largest = np.argpartition(-weights[active], top_k - 1)[:top_k]
        active = np.sort(active[largest])
    return SparseEmbedding(active.astype(np.int32), weights[active].astype(np.float32))


class SparseEmbedder(Model):
    """Sparse embeddings: bundles for sparse-embedding."""

    @overload
    def embed(  # type: ignore[overload-overlap]
        self, texts: str, **options: Unpack[SparseOptions]
    ) -> SparseEmbedding: ...
    @overload
    def embed(
        self, texts: Iterable[Text], **options: Unpack[SparseOptions]
    ) -> list[SparseEmbedding]: ...
    def embed(
        self,
        texts: str | Iterable[Text],
        *,
        prompt: str | None = None,
        top_k: int | None = None,
        overflow: str | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Embed texts as weights of the vocabulary's tokens (SPLADE).

        Args:
            texts: one text, or several texts or pairs.
            prompt: put in front of each text: a name of ``info.embedding.prompts``, or the text
                itself; None: the checkpoint's default; "": nothing.
            top_k: number of weights to keep, the largest; None: the checkpoint's
                ``max_active_dims``, or all that are not zero.
            overflow: for a text that is too long: "error" or "truncate"; None: the model's.
            batch_tokens: tokens of a packed batch; None: 2,048 on a CPU.
            progress: show a progress bar on standard error if that is a terminal.

        Returns:
            For each text its nonzero weights by token id. For a single string, that string's.
            :meth:`token_weights` names the tokens.

        Raises:
            InputError: a text that is too long, or an invalid option.
        """
        operation = EmbedSparse(self.context, prompt=prompt, top_k=top_k, overflow=overflow)
        return self._apply_to_texts(operation, texts, batch_tokens, progress)

    def embed_iter(
        self,
        texts: Iterable[Text],
        *,
        look_ahead: int = LOOK_AHEAD,
        **options: Unpack[SparseOptions],
    ) -> Iterator[SparseEmbedding]:
        """Embed any number of texts in bounded memory; see :meth:`Model.apply_iter`."""
        return self._stream(EmbedSparse, texts, look_ahead, options)

    def token_weights(
        self, embedding: SparseEmbedding, top_k: int | None = None
    ) -> list[TokenWeight]:
        """Name the tokens of a sparse embedding.

        Args:
            embedding: from :meth:`embed`.
            top_k: number of tokens; None: all.

        Returns:
            Tokens with their weights, the largest first.
        """
        check_top_k(top_k)
        spelling = self.context.tokenizer.spelling
        order = np.argsort(-embedding.values, kind="stable")[:top_k]
        return [
            TokenWeight(spelling(int(i)), int(i), float(weight))
            for i, weight in zip(embedding.indices[order], embedding.values[order], strict=True)
        ]


def _answers(model: SparseEmbedder, texts: Iterator[str], **options: Any) -> Iterator[Answer]:
    shown_tokens = options.get("top_k", _SHOWN_TOKENS)
    for text, embedding in beside(texts, lambda several: model.embed_iter(several, **options)):
        best = model.token_weights(embedding, shown_tokens)
        listed = "  ".join(f"{weight.token} {weight.weight:.3f}" for weight in best)
        shown = f"  {listed}  ({embedding.indices.size} tokens)"
        weights = {"indices": embedding.indices.tolist(), "values": exact(embedding.values)}
        yield text, shown, {**weights, "best": [asdict(weight) for weight in best]}


SparseEmbedder.commands = (Command(_answers, (PROMPT, TOP_K, OVERFLOW)),)

MODELS: tuple[type[Model], ...] = (SparseEmbedder,)
TASKS = (
    Task(
        "sparse-embedding",
        outputs={"weights": "sequences"},
        model=lambda manifest: SparseEmbedder,
        settings={"embedding": EmbeddingSettings},
    ),
)
