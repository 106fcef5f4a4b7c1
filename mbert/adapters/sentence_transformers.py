"""A bundle with the interface of sentence-transformers' SentenceTransformer.

Code written for that class runs on a bundle when it imports this one instead. Options that a bundle
cannot honour raise InputError; none is ignored silently, unless it has no effect on the result.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError
from mbert.runtime import Embedder
from mbert.runtime.prompts import PromptText

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger("mbert")

# Names that prompts for each side of a search have, the first one that a checkpoint knows.
PROMPT_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}


class SentenceTransformer:
    """Encodes texts with a sentence-similarity or feature-extraction bundle."""

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str] | Embedder,
        device: str | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        truncate_dim: int | None = None,
        trust_remote_code: bool = False,
        cache_folder: str | None = None,
        **options: Any,
    ) -> None:
        """Load a bundle.

        Args:
            model_name_or_path: the bundle's folder, or a model that is loaded already.
            device: as in :func:`mbert.load`.
            prompts: more prompts by name; they replace the checkpoint's of the same name.
            default_prompt_name: prompt to use if the caller names none; None: the checkpoint's.
            truncate_dim: leading values of a vector to keep; None: the checkpoint's.
            trust_remote_code: ignored; a bundle has no code.
            cache_folder: ignored; nothing is downloaded.
            options: other options of that class; each raises InputError.

        Raises:
            InputError: an unknown default prompt, a device for a loaded model, or an option that a
                bundle cannot honour.
            BundleError: as :func:`mbert.load`.
            BackendError: as :func:`mbert.load`.
        """
        if options:
            raise InputError(
                f"{', '.join(options)}: not an option of a bundle, whose settings are fixed by the "
                "export."
            )
        if isinstance(model_name_or_path, Embedder):
            if device is not None:
                raise InputError(f"device is {device!r}; the model is loaded already.")
            self.model = model_name_or_path
        else:
            self.model = Embedder.load(model_name_or_path, device=device)
        own = self.model.info.embedding
        self.prompts = {**(own.prompts if own else {}), **(prompts or {})}
        self.default_prompt_name = default_prompt_name or (own.default_prompt if own else None)
        self._default_prompt = self._named(self.default_prompt_name)
        self.truncate_dim = truncate_dim
        self._device = "cpu" if self.model.info.target == "cpu" else device

    def encode(
        self,
        sentences: str | Sequence[str] | NDArray[Any],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: None = None,
    ) -> NDArray[Any] | Tensor | list[Tensor]:
        """Embed texts; texts that are too long are truncated.

        Args:
            sentences: a text, or several.
            prompt_name: of the prompt in front of each text; ``prompt`` comes first.
            prompt: the text in front of each text; None: the default prompt.
            batch_size: checked only, since batches are packed by tokens.
            show_progress_bar: None: True if the logger "mbert" is at INFO or below.
            output_value: "sentence_embedding".
            precision: "float32", "int8", "uint8", "binary" or "ubinary".
            convert_to_numpy: give an array; else, without ``convert_to_tensor``, a list of tensors.
            convert_to_tensor: give a tensor (needs PyTorch).
            device: None, or where the model is.
            normalize_embeddings: scale each vector to length 1.
            truncate_dim: leading values to keep; None: the model's.
            pool: None; a bundle runs in one process.
            chunk_size: None.

        Returns:
            [n, dim], or [dim] for a single text, which is a ``str``.

        Raises:
            InputError: a value that a bundle cannot honour, or an unknown prompt.
        """
        if batch_size <= 0:
            raise InputError(f"batch_size is {batch_size}; expected at least 1.")
        if output_value != "sentence_embedding":
            raise InputError(
                f"output_value is {output_value!r}; a bundle gives 'sentence_embedding'. For "
                "vectors of tokens export with --task feature-extraction and call model.run."
            )
        if device not in (None, self._device):
            raise InputError(
                f"device is {device!r}; the model is loaded for {self._device!r}. Load another."
            )
        for name, value in (("pool", pool), ("chunk_size", chunk_size)):
            if value is not None:
                raise InputError(
                    f"{name} is {value!r}; a bundle runs in one process. Load it in each, and give "
                    "each its share of the texts."
                )
        if show_progress_bar is None:
            show_progress_bar = _log.getEffectiveLevel() in (logging.INFO, logging.DEBUG)
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        vectors: NDArray[Any] = np.array([])
        if texts:
            vectors = self.model.embed(
                texts,
                prompt=self._prompt(prompt_name, prompt),
                dimensions=self._dimensions(truncate_dim),
                normalize=normalize_embeddings,
                dtype=precision,
                overflow="truncate",
                progress=show_progress_bar,
            )
        if convert_to_numpy and not convert_to_tensor:
            return vectors[0] if isinstance(sentences, str) else vectors
        import torch  # only where tensors are asked for

        tensor = torch.from_numpy(vectors)
        if isinstance(sentences, str):
            return tensor[0]
        return tensor if convert_to_tensor else list(tensor)

    def encode_query(
        self, sentences: str | Sequence[str], **options: Any
    ) -> NDArray[Any] | Tensor | list[Tensor]:
        """:meth:`encode` with the checkpoint's prompt for queries, if it has one."""
        return self._encode_role("query", sentences, options)

    def encode_document(
        self, sentences: str | Sequence[str], **options: Any
    ) -> NDArray[Any] | Tensor | list[Tensor]:
        """:meth:`encode` with the checkpoint's prompt for documents, if it has one."""
        return self._encode_role("document", sentences, options)

    def similarity(
        self,
        embeddings1: NDArray[Any] | Tensor | Sequence[Any],
        embeddings2: NDArray[Any] | Tensor | Sequence[Any],
    ) -> NDArray[np.float32] | Tensor:
        """Compare each of the first vectors with each of the second: [n, m].

        Return a tensor if the first are one, or a list of tensors; else an array.
        """
        scores = self.model.similarity(np.asarray(embeddings1), np.asarray(embeddings2))
        return _like(scores, embeddings1)

    def similarity_pairwise(
        self,
        embeddings1: NDArray[Any] | Tensor | Sequence[Any],
        embeddings2: NDArray[Any] | Tensor | Sequence[Any],
    ) -> NDArray[np.float32] | Tensor:
        """Compare each of the first vectors with its counterpart: [n]; else as above."""
        scores = self.model.similarity_pairwise(np.asarray(embeddings1), np.asarray(embeddings2))
        return _like(scores, embeddings1)

    @property
    def similarity_fn_name(self) -> str:
        """Name of the similarity function."""
        own = self.model.info.embedding
        return own.similarity if own else "cosine"

    @property
    def max_seq_length(self) -> int:
        """Maximum number of tokens of a text."""
        return self.model.info.limits.max_sequence_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        if value != self.max_seq_length:
            raise InputError(
                f"max_seq_length is {self.max_seq_length}, fixed by the export, and cannot become "
                f"{value}. Export with --max-sequence-length {value}."
            )

    def get_embedding_dimension(self) -> int:
        """Return the number of values of a vector."""
        return self._dimensions(None) or self.model.dimension

    def get_sentence_embedding_dimension(self) -> int:
        """Older name of :meth:`get_embedding_dimension`."""
        return self.get_embedding_dimension()

    def _dimensions(self, truncate_dim: int | None) -> int | None:
        kept = self.truncate_dim if truncate_dim is None else truncate_dim
        return None if kept is None else min(kept, self.model.info.width)

    def _named(self, name: str | None) -> str:
        if name is None:
            return ""
        if name not in self.prompts:
            raise InputError(
                f"The prompt {name!r} is unknown; expected one of "
                f"{', '.join(self.prompts) or '(none)'}."
            )
        return self.prompts[name]

    def _prompt(self, name: str | None, text: str | None) -> PromptText:
        if text is None:
            text = self._default_prompt if name is None else self._named(name)
        if not isinstance(text, str):
            raise InputError(f"prompt is {text!r}; expected a text.")
        return PromptText(text)

    def _encode_role(
        self, role: str, sentences: str | Sequence[str], options: dict[str, Any]
    ) -> NDArray[Any] | Tensor | list[Tensor]:
        if options.get("prompt_name") is None and options.get("prompt") is None:
            options = {**options, "prompt_name": role_prompt(self.prompts, role)}
        return self.encode(sentences, **options)


def role_prompt(prompts: Mapping[str, str], role: str) -> str | None:
    """Return the name of the prompt for "query" or "document", or None."""
    return next((name for name in PROMPT_NAMES[role] if name in prompts), None)


def _like(scores: NDArray[np.float32], values: Any) -> NDArray[np.float32] | Tensor:
    """Return ``scores``, as a tensor if ``values`` are one, or a list of tensors."""
    if isinstance(values, list | tuple) and values:
        values = values[0]
    if isinstance(values, np.ndarray) or not hasattr(values, "numpy"):
        return scores
    import torch

    return torch.from_numpy(scores)
