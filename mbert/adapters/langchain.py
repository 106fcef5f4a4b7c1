"""A bundle as LangChain's Embeddings; needs ``pip install 'mbert[langchain]'``."""

from __future__ import annotations

import os
from collections.abc import Mapping

from langchain_core.embeddings import Embeddings

from mbert.errors import InputError
from mbert.runtime import Embedder

from .sentence_transformers import PROMPT_NAMES, role_prompt


class MbertEmbeddings(Embeddings):
    """Embeds queries and documents, each with its prompt, with one loaded bundle.

    Safe to use from several threads, which the asynchronous methods do.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Embedder,
        *,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        overflow: str = "truncate",
        threads: int | None = None,
        device: str | None = None,
    ) -> None:
        """Load a bundle.

        Args:
            bundle: the folder of a sentence-similarity or feature-extraction bundle, or a model
                that is loaded already.
            query_prompt: as ``prompt`` of :meth:`mbert.Embedder.embed`; None: the checkpoint's
                prompt "query", or else its default.
            document_prompt: likewise; None: the first of the checkpoint's prompts "document",
                "passage" and "corpus" that is not empty.
            overflow: of texts that are too long: "truncate", "window" or "error".
            threads: as in :func:`mbert.load`.
            device: as in :func:`mbert.load`.

        Raises:
            BundleError: as :func:`mbert.load`.
            BackendError: as :func:`mbert.load`.
            InputError: a device or threads for a loaded model; and as :func:`mbert.load`.
        """
        if isinstance(bundle, Embedder):
            for name, value in (("threads", threads), ("device", device)):
                if value is not None:
                    raise InputError(f"{name} is {value!r}; the model is loaded already.")
            self.model = bundle
        else:
            self.model = Embedder.load(bundle, threads=threads, device=device)
        own = self.model.info.embedding
        known = own.prompts if own else {}
        self._query_prompt = _chosen(query_prompt, known, "query")
        self._document_prompt = _chosen(document_prompt, known, "document")
        self._overflow = overflow

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents; one vector each, of length 1 where the checkpoint's are."""
        return self._embed(texts, self._document_prompt)

    def embed_query(self, text: str) -> list[float]:
        """Embed a query."""
        return self._embed([text], self._query_prompt)[0]

    def _embed(self, texts: list[str], prompt: str | None) -> list[list[float]]:
        vectors = self.model.embed(texts, prompt=prompt, overflow=self._overflow)
        found: list[list[float]] = vectors.tolist()
        return found


def _chosen(asked: str | None, prompts: Mapping[str, str], role: str) -> str | None:
    if asked is not None:
        return asked
    # Every checkpoint knows "document", mostly with nothing to put in front.
    return next(filter(prompts.get, PROMPT_NAMES[role]), role_prompt(prompts, role))
