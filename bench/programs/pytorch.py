"""PyTorch: transformers' own class for the task, padded batches, SDPA attention, float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mbert.errors import BackendError, CheckpointError

from . import Source

if TYPE_CHECKING:  # it imports onnxruntime, whose memory is not PyTorch's
    from mbert.runtime.packing import Int32Array

try:
    import torch
    import transformers
except ImportError as error:
    raise BackendError(
        f"The PyTorch side needs torch and transformers; {error.name} is missing. Install them "
        "with `pip install 'mbert[bench]'`."
    ) from error

CLASSES = {
    "feature-extraction": "ModernBertModel",
    "fill-mask": "ModernBertForMaskedLM",
    "text-classification": "ModernBertForSequenceClassification",
    "token-classification": "ModernBertForTokenClassification",
    "question-answering": "ModernBertForQuestionAnswering",
}
# Those with a row for each token.
_OF_TOKENS = ("feature-extraction", "token-classification", "question-answering")


class PyTorch:
    """A transformers model on padded batches."""

    def __init__(self, model: Any, task: str) -> None:
        """Use :func:`open_program`."""
        self._model = model
        self._task = task
        self._pad = model.config.pad_token_id or 0
        self._sequences: Sequence[Int32Array] = ()
        self._groups: Sequence[Sequence[int]] = ()

    @property
    def versions(self) -> dict[str, str]:
        """Of PyTorch and transformers."""
        return {"torch": torch.__version__, "transformers": transformers.__version__}

    def prepare(self, sequences: Sequence[Int32Array], groups: Sequence[Sequence[int]]) -> None:
        """Keep the sequences and the batches."""
        self._sequences = sequences
        self._groups = groups

    @torch.inference_mode()
    def run(self) -> list[torch.Tensor]:
        """Pad and compute each batch.

        Returns:
            For each batch float32: feature-extraction [batch, longest, hidden], fill-mask
            [batch, vocab] (the rows of the mask tokens), text-classification [batch, labels],
            token-classification [batch, longest, labels], question-answering [batch, longest, 2].
        """
        return [self._run_batch([self._sequences[i] for i in group]) for group in self._groups]

    def outputs(self, result: list[torch.Tensor]) -> list[NDArray[Any]]:
        """Drop the rows of padding and restore the order."""
        outputs: list[NDArray[Any]] = [np.empty(0, np.float32)] * len(self._sequences)
        for group, batch in zip(self._groups, result, strict=True):
            for i, values in zip(group, batch.numpy(), strict=True):
                if self._task in _OF_TOKENS:
                    outputs[i] = values[: len(self._sequences[i])]
                else:
                    outputs[i] = values[None] if self._task == "fill-mask" else values
        return outputs

    def _run_batch(self, sequences: Sequence[Int32Array]) -> torch.Tensor:
        longest = max(len(ids) for ids in sequences)
        input_ids = torch.full((len(sequences), longest), self._pad)
        attention_mask = torch.zeros_like(input_ids)
        for row, ids in enumerate(sequences):
            input_ids[row, : len(ids)] = torch.from_numpy(ids)
            attention_mask[row, : len(ids)] = 1
        output = self._model(input_ids=input_ids, attention_mask=attention_mask)
        if self._task == "feature-extraction":
            hidden: torch.Tensor = output.last_hidden_state
            return hidden
        if self._task == "question-answering":
            return torch.stack((output.start_logits, output.end_logits), -1)
        logits: torch.Tensor = output.logits
        if self._task == "fill-mask":
            # The workloads mask the middle of each sequence. Nobody keeps the other rows.
            middles = torch.tensor([len(ids) // 2 for ids in sequences])
            return logits[torch.arange(len(sequences)), middles]
        return logits


def open_program(source: Source) -> PyTorch:
    """Load a checkpoint folder.

    Raises:
        BackendError: transformers has no ModernBERT.
        CheckpointError: transformers cannot load the folder.
    """
    torch.set_num_threads(source.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    name = CLASSES[source.task]
    try:
        model_class = getattr(transformers, name)
    except AttributeError:
        raise BackendError(
            f"transformers {transformers.__version__} has no {name}; ModernBERT came with 4.48. "
            "Install a newer one with `pip install 'mbert[bench]'`."
        ) from None
    try:
        model = model_class.from_pretrained(source.path, attn_implementation="sdpa")
    except Exception as error:  # safetensors, json and transformers each raise their own
        raise CheckpointError(
            f"transformers cannot load {source.path} ({type(error).__name__}: {error}). "
            "--checkpoint takes the folder that holds config.json and model.safetensors."
        ) from error
    # The stored type may be float16; every program computes in float32 here.
    return PyTorch(model.float().eval(), source.task)
