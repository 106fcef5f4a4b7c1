"""Fill-mask: the most probable tokens at each mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..engine import Rows
from ..inputs import check_top_k
from ..model import LOOK_AHEAD, CallOptions, Model
from ..packing import TokenSequence
from ..tokenization import Text
from .base import OVERFLOW, TOP_K, Answer, Command, Operation, Task, TaskContext, beside

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class TokenPrediction:
    """A candidate for a mask. ``score`` is its probability over the vocabulary."""

    token: str
    token_id: int
    score: float


class FillMaskOptions(CallOptions, total=False):
    """Options of :meth:`MaskFiller.fill_mask`."""

    top_k: int
    overflow: str | None


class FillMask(Operation[Text, list[list[TokenPrediction]]]):
    """Predict the tokens at the masks of texts."""

    def __init__(
        self, context: TaskContext, *, top_k: int = 5, overflow: str | None = None
    ) -> None:
        """Check the options of :meth:`MaskFiller.fill_mask`."""
        super().__init__(context)
        check_top_k(top_k, optional=False)
        self.top_k = top_k
        self.overflow = context.resolve_overflow(overflow)

    def encode(self, inputs: Sequence[Text], first: int = 0) -> list[list[TokenSequence]]:
        """Return one sequence for each text."""
        mask = self.context.manifest.special_tokens.get("mask", -1)
        sequences = self.context.tokenizer.encode(inputs, self.overflow, first=first)
        for i, ids in enumerate(sequences, first):
            # Without a known mask token the engine says what is missing.
            if mask >= 0 and not (ids == mask).any():
                raise InputError(
                    f"Text {i} has no mask token; expected at least one. Write "
                    f"{self.context.tokenizer.spelling(mask)} where a token is to be predicted."
                )
        return [[TokenSequence(ids)] for ids in sequences]

    def reduce(self, rows: Rows, sequence: TokenSequence) -> list[list[TokenPrediction]]:
        """[masks, vocab] -> for each mask the ``top_k`` candidates, best first."""
        token = self.context.tokenizer.token
        return [
            [TokenPrediction(token(i), i, score) for i, score in best(row, self.top_k)]
            for row in rows[0]
        ]


def best(row: NDArray[np.float32], top_k: int) -> list[tuple[int, float]]:
    """Return the ``top_k`` largest softmax probabilities of a row and their indices, best first."""
    top_k = min(top_k, row.size)
    exponentials = np.exp(row - row.max(), dtype=np.float64)
    candidates = np.argpartition(-row, top_k - 1)[:top_k]
    ordered = candidates[np.argsort(-row[candidates], kind="stable")]
    total = exponentials.sum()
    return [(int(i), float(exponentials[i] / total)) for i in ordered]


class MaskFiller(Model):
    """Masked-token prediction: bundles for fill-mask."""

    @overload
    def fill_mask(  # type: ignore[overload-overlap]
        self, texts: str, **options: Unpack[FillMaskOptions]
    ) -> list[list[TokenPrediction]]: ...
    @overload
    def fill_mask(
        self, texts: Iterable[Text], **options: Unpack[FillMaskOptions]
    ) -> list[list[list[TokenPrediction]]]: ...
    def fill_mask(
        self,
        texts: str | Iterable[Text],
        *,
        top_k: int = 5,
        overflow: str | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Predict the tokens at the masks of texts.

        Args:
            texts: one text, or several texts or pairs, each with at least one mask token.
            top_k: number of candidates for each mask.
            overflow: for a text that is too long: "error" or "truncate"; None: the model's.
            batch_tokens: tokens of a packed batch; None: 2,048 on a CPU.
            progress: show a progress bar on standard error if that is a terminal.

        Returns:
            For each text, for each of its masks, the candidates, best first. For a single string,
            that string's.

        Raises:
            InputError: a text without a mask or too long, or an invalid option.
        """
        operation = FillMask(self.context, top_k=top_k, overflow=overflow)
        return self._apply_to_texts(operation, texts, batch_tokens, progress)

    def fill_mask_iter(
        self,
        texts: Iterable[Text],
        *,
        look_ahead: int = LOOK_AHEAD,
        **options: Unpack[FillMaskOptions],
    ) -> Iterator[list[list[TokenPrediction]]]:
        """Do :meth:`fill_mask` for any number of texts; see :meth:`Model.apply_iter`."""
        return self._stream(FillMask, texts, look_ahead, options)


def _answers(model: MaskFiller, texts: Iterator[str], **options: Any) -> Iterator[Answer]:
    for text, masks in beside(texts, lambda several: model.fill_mask_iter(several, **options)):
        lines = [
            "  " + "  ".join(f"{c.token.strip() or repr(c.token)} {c.score:.3f}" for c in found)
            for found in masks
        ]
        yield text, "\n".join(lines), {"masks": [[asdict(c) for c in found] for found in masks]}


MaskFiller.commands = (Command(_answers, (TOP_K, OVERFLOW)),)

MODELS: tuple[type[Model], ...] = (MaskFiller,)
TASKS = (Task("fill-mask", outputs={"logits": "masks"}, model=lambda manifest: MaskFiller),)
