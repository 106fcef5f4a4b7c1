"""The model that users hold: a bundle, loaded, with a method for each task."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbert.errors import InputError

from .backends import open_session
from .bundle import open_bundle
from .inputs import as_sequence, check_count
from .packed_model import PackedModel
from .tasks import (
    classification,
    embedding,
    fill_mask,
    multi_vector,
    question_answering,
    ranking,
    similarity,
    sparse_embedding,
    token_classification,
)
from .tokenization import Text

_SomeText = TypeVar("_SomeText", str, Text)


def load(
    bundle: str | os.PathLike[str],
    *,
    threads: int | None = None,
    device: str | None = None,
    kernels: bool = True,
) -> Model:
    """Load a bundle.

    Args:
        bundle: a folder written by ``mbert-export``.
        threads: threads of one call of the graph; None: one for each core that this process may
            use, a container's quota included. (Tokenizing has threads of its own: see the
            ``tokenizers`` library's ``RAYON_NUM_THREADS``.)
        device: None, or where to run: "cpu" for a bundle that was exported for the CPU; "cuda" or
            "cuda:1" (the second one) for a bundle for a GPU.
        kernels: run mbert's kernels; False, with ONNX Runtime only: the standard operators that the
            bundle carries for each of them. That is slower and needs no library of kernels.

    The target of the bundle decides what it runs on; one for a GPU never runs on a CPU instead. The
    first load on a machine can take long where an engine is built then (the log says so).

    Raises:
        BundleError: not a bundle, of a newer format, or changed since it was exported.
        BackendError: the backend or the GPU is missing or refuses the bundle.
    """
    opened = open_bundle(bundle)
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}; expected at least 1, or None.")
    session = open_session(opened, threads=threads, device=device, kernels=kernels)
    return Model(opened, session)


class Model(PackedModel):
    """A loaded bundle, from :func:`load`; safe to use from several threads, and a context manager.

    Beside what :class:`PackedModel` does with token ids: a method for each task, on texts.
    """

    def embed(
        self,
        texts: str | Sequence[Text],
        *,
        prompt: str | None = None,
        pooling: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        output: str = "float32",
        ranges: ArrayLike | None = None,
        calibration: ArrayLike | None = None,
        truncate: bool = False,
        overflow: str = "error",
        stride: int | None = None,
        progress: bool = False,
    ) -> NDArray[Any]:
        """Embed texts.

        Args:
            texts: one text (the result is a vector) or several (one row each).
            prompt: put in front of each text: a name of ``info.embedding.prompts``, or the text
                itself; None: the checkpoint's default, "": nothing.
            pooling: feature-extraction only: "cls" or "mean"; None: as the checkpoint says, mean
                where it says nothing.
            dimensions: how many of the first values to keep, for checkpoints that are trained so;
                None: as the checkpoint says.
            normalize: scale each vector to length 1, after the cut, so that a product is the
                cosine; None: as the checkpoint does, and always for feature-extraction.
            output: "float32"; "int8" or "uint8", the place of each value in its dimension's range;
                "binary" or "ubinary", a bit for each dimension (docs/embeddings.md).
            ranges: [2, dim], least and largest values, for int8 and uint8.
            calibration: [n, dim], embeddings that span the ranges instead. With neither the ranges
                are those of the result, which no other result can be compared with.
            truncate: short for ``overflow="truncate"``.
            overflow: of a text that is too long: "error"; "truncate", which cuts it; or "chunk":
                its tokens are cut into windows, the windows are embedded, and the vectors become
                their mean, weighted by each window's new tokens (docs/embeddings.md).
            stride: with "chunk" alone: how many tokens a window shares with the one before; None:
                an eighth of its own.
            progress: show a progress bar on standard error, if that is a terminal.

        Returns:
            float32 [dim] or [n, dim]; int8 or uint8 [n, dim], or [n, ceil(dim / 8)] of bits.

        Raises:
            InputError: not a sentence-similarity or feature-extraction bundle; a text too long; an
                unknown option.
        """
        options = embedding.settle(
            self._runner,
            "embed",
            prompt=prompt,
            pooling=pooling,
            dimensions=dimensions,
            normalize=normalize,
            output=output,
            ranges=ranges,
            calibration=calibration,
            truncate=truncate,
            overflow=overflow,
            stride=stride,
        )
        vectors: NDArray[Any] = _answer(
            texts,
            lambda several: embedding.embed(self._runner, several, options, progress=progress),
        )
        return vectors

    def embed_iter(
        self,
        texts: Iterable[Text],
        *,
        look_ahead: int = 1024,
        prompt: str | None = None,
        pooling: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        output: str = "float32",
        ranges: ArrayLike | None = None,
        calibration: ArrayLike | None = None,
        truncate: bool = False,
        overflow: str = "error",
        stride: int | None = None,
        progress: bool = False,
    ) -> Iterator[NDArray[Any]]:
        """Embed any number of texts in bounded memory, as they are asked for.

        Args:
            texts: texts or pairs; taken ``look_ahead`` at a time, each time that vectors are due.
            look_ahead: how many texts are packed together.
            prompt: as in :meth:`embed`, and so are all the others; int8 and uint8 need ``ranges``
                or ``calibration``.

        Returns:
            An iterator of one vector for each text, in their order, as in :meth:`embed`.

        Raises:
            InputError: as :meth:`embed` does; what is wrong with a text when the first vector of
                the ``look_ahead`` texts that it is taken with is due.
        """
        if isinstance(texts, str):
            raise InputError("embed_iter takes many texts; for a single one there is embed.")
        check_count("look_ahead", look_ahead)
        options = embedding.settle(
            self._runner,
            "embed_iter",
            prompt=prompt,
            pooling=pooling,
            dimensions=dimensions,
            normalize=normalize,
            output=output,
            ranges=ranges,
            calibration=calibration,
            truncate=truncate,
            overflow=overflow,
            stride=stride,
        )
        return embedding.embed_iter(self._runner, texts, options, look_ahead, progress=progress)

    def similarity(self, a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
        """Compare embeddings, as ``info.embedding.similarity`` says or else by cosine.

        Args:
            a: [n, dim], or [dim] for one.
            b: [m, dim], or [dim] for one.

        Returns:
            float32 [n, m], every row of ``a`` with every row of ``b``, the larger the more alike:
            cosine, dot product, or a negative distance (euclidean, manhattan).

        Raises:
            InputError: not vectors of one width.
        """
        own = self.info.embedding
        return similarity.similarity(a, b, own.similarity if own else "cosine")

    @overload
    def embed_sparse(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self,
        texts: str,
        *,
        prompt: str | None = ...,
        top_k: int | None = ...,
        truncate: bool = ...,
    ) -> sparse_embedding.SparseEmbedding: ...
    @overload
    def embed_sparse(
        self,
        texts: Sequence[Text],
        *,
        prompt: str | None = ...,
        top_k: int | None = ...,
        truncate: bool = ...,
    ) -> list[sparse_embedding.SparseEmbedding]: ...
    def embed_sparse(
        self,
        texts: str | Sequence[Text],
        *,
        prompt: str | None = None,
        top_k: int | None = None,
        truncate: bool = False,
    ) -> Any:
        """Embed texts as weights of the tokens of the vocabulary (SPLADE).

        Args:
            texts: one text or several.
            prompt: as in :meth:`embed`.
            top_k: keep this many weights of each, the largest; None: as many as the checkpoint's
                ``max_active_dims`` says, or all that are not zero.
            truncate: cut a text that is too long instead of raising.

        Returns:
            For each text its weights that are not zero, by token id. For a single string, that
            string's. :meth:`token_weights` names the tokens.

        Raises:
            InputError: not a sparse-embedding bundle; a text too long.
        """
        self._runner.need("sparse-embedding", "embed_sparse")
        return _answer(
            texts,
            lambda several: sparse_embedding.embed_sparse(
                self._runner, several, prompt=prompt, top_k=top_k, truncate=truncate
            ),
        )

    def token_weights(
        self, embedding: sparse_embedding.SparseEmbedding, top_k: int | None = None
    ) -> list[sparse_embedding.TokenWeight]:
        """Name the tokens of a sparse embedding.

        Args:
            embedding: from :meth:`embed_sparse`.
            top_k: how many; None: all.

        Returns:
            Tokens with their weights, the largest first.
        """
        return sparse_embedding.token_weights(self._runner, embedding, top_k)

    @overload
    def embed_multi(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self, texts: str, *, role: str, truncate: bool = ...
    ) -> NDArray[np.float32]: ...
    @overload
    def embed_multi(
        self, texts: Sequence[str], *, role: str, truncate: bool = ...
    ) -> list[NDArray[np.float32]]: ...
    def embed_multi(self, texts: str | Sequence[str], *, role: str, truncate: bool = False) -> Any:
        """Embed texts as one vector for each of their tokens (ColBERT).

        Args:
            texts: one text or several; no pairs.
            role: "query" or "document": prefix, length, expansion and skipped tokens are those
                that the checkpoint has for it (docs/retrieval.md).
            truncate: cut a text that is longer than its role allows instead of raising.

        Returns:
            For each text float32 [vectors, dim]. For a single string, that string's.

        Raises:
            InputError: not a multi-vector bundle; an unknown role; a text too long.
        """
        self._runner.need("multi-vector", "embed_multi")
        return _answer(
            texts,
            lambda several: multi_vector.embed_multi(
                self._runner, several, role=role, truncate=truncate
            ),
        )

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_k: int | None = None,
        prompt: str | None = None,
        truncate: bool = False,
    ) -> list[ranking.RankResult]:
        """Rank documents for a query.

        Args:
            query: what is searched for.
            documents: the candidates.
            top_k: how many to return; None: all.
            prompt: of a reranker, what is put in front of the query: a name of the checkpoint's,
                or the text itself; None: the checkpoint's default.
            truncate: cut a text that is too long instead of raising; a pair, the longer of both.

        Returns:
            The documents with their scores, best first. The score of a text-classification bundle
            with one label (a reranker) is its logit after the activation that the checkpoint names,
            or a sigmoid, as CrossEncoder of sentence-transformers has it. That of a multi-vector
            bundle is MaxSim: the sum (or where the checkpoint says so the mean) over the query's
            vectors of the largest product with one of the document's.

        Raises:
            InputError: a bundle of a task that ranks nothing, or with several labels; an unknown
                prompt; a text too long.
        """
        return ranking.rerank(
            self._runner, query, documents, top_k=top_k, prompt=prompt, truncate=truncate
        )

    @overload
    def fill_mask(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self, texts: str, *, top_k: int = ..., truncate: bool = ...
    ) -> list[list[fill_mask.TokenPrediction]]: ...
    @overload
    def fill_mask(
        self, texts: Sequence[Text], *, top_k: int = ..., truncate: bool = ...
    ) -> list[list[list[fill_mask.TokenPrediction]]]: ...
    def fill_mask(
        self, texts: str | Sequence[Text], *, top_k: int = 5, truncate: bool = False
    ) -> Any:
        """Predict the masked tokens.

        Args:
            texts: one text or several, each with at least one mask token ("[MASK]").
            top_k: how many candidates for each mask.
            truncate: cut a text that is too long instead of raising.

        Returns:
            For each text a list with one entry for each mask: its candidates, best first. For a
            single string, that string's list.

        Raises:
            InputError: not a fill-mask bundle; a text without a mask, or too long.
        """
        self._runner.need("fill-mask", "fill_mask")
        return _answer(
            texts,
            lambda several: fill_mask.fill_mask(
                self._runner, several, top_k=top_k, truncate=truncate
            ),
        )

    @overload
    def classify(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self,
        texts: str,
        *,
        top_k: int | None = ...,
        function_to_apply: str | None = ...,
        truncate: bool = ...,
    ) -> list[classification.LabelScore]: ...
    @overload
    def classify(
        self,
        texts: Sequence[Text],
        *,
        top_k: int | None = ...,
        function_to_apply: str | None = ...,
        truncate: bool = ...,
    ) -> list[list[classification.LabelScore]]: ...
    def classify(
        self,
        texts: str | Sequence[Text],
        *,
        top_k: int | None = None,
        function_to_apply: str | None = None,
        truncate: bool = False,
    ) -> Any:
        """Classify texts or pairs of texts.

        Args:
            texts: one text, or several texts or pairs (tuples of two strings).
            top_k: how many labels of each; None: all.
            function_to_apply: what makes scores of logits, as in the transformers pipeline:
                "softmax", "sigmoid" or "none"; None: nothing for a regression, a sigmoid for one
                label or where a text may have several, else softmax.
            truncate: cut a text that is too long instead of raising.

        Returns:
            For each text its labels with scores, best first. For a single string, that string's.

        Raises:
            InputError: not a text-classification bundle; an option that is unknown; a text too
                long.
        """
        self._runner.need("text-classification", "classify")
        return _answer(
            texts,
            lambda several: classification.classify(
                self._runner,
                several,
                top_k=top_k,
                function_to_apply=function_to_apply,
                truncate=truncate,
            ),
        )

    @overload
    def tag(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self,
        texts: str,
        *,
        aggregation: str = ...,
        ignore_labels: Collection[str] = ...,
        stride: int | None = ...,
        truncate: bool = ...,
    ) -> list[token_classification.Entity]: ...
    @overload
    def tag(
        self,
        texts: Sequence[str],
        *,
        aggregation: str = ...,
        ignore_labels: Collection[str] = ...,
        stride: int | None = ...,
        truncate: bool = ...,
    ) -> list[list[token_classification.Entity]]: ...
    def tag(
        self,
        texts: str | Sequence[str],
        *,
        aggregation: str = "simple",
        ignore_labels: Collection[str] = token_classification.IGNORED,
        stride: int | None = None,
        truncate: bool = False,
    ) -> Any:
        """Find the entities of texts, as the transformers pipeline has them.

        Args:
            texts: one text or several; no pairs.
            aggregation: "none": every token by itself; "simple": neighbours of one kind joined;
                "first", "average", "max": the same of whole words, whose label is by the first
                token, the average of the tokens, or the token that is surest.
            ignore_labels: labels that make no entity, as they are in the results.
            stride: cut a text that is too long into windows that share this many tokens; of
                entities that overlap the longest counts, of equally long ones the surest. None: do
                not.
            truncate: cut a text that is too long instead of raising.

        Returns:
            For each text its entities, in the order of the text. For a single string, that
            string's list.

        Raises:
            InputError: not a token-classification bundle; an option that is unknown or out of
                range; a pair; a text too long.
        """
        self._runner.need("token-classification", "tag")
        return _answer(
            texts,
            lambda several: token_classification.tag(
                self._runner,
                several,
                aggregation=aggregation,
                ignore_labels=ignore_labels,
                stride=stride,
                truncate=truncate,
            ),
        )

    @overload
    def answer(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self,
        question: str,
        context: str,
        *,
        top_k: int = ...,
        max_answer_length: int = ...,
        window: int | None = ...,
        stride: int | None = ...,
        whole_words: bool = ...,
        impossible: bool = ...,
    ) -> list[question_answering.Answer]: ...
    @overload
    def answer(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str],
        *,
        top_k: int = ...,
        max_answer_length: int = ...,
        window: int | None = ...,
        stride: int | None = ...,
        whole_words: bool = ...,
        impossible: bool = ...,
    ) -> list[list[question_answering.Answer]]: ...
    def answer(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str],
        *,
        top_k: int = 1,
        max_answer_length: int = 15,
        window: int | None = None,
        stride: int | None = None,
        whole_words: bool = True,
        impossible: bool = False,
    ) -> Any:
        """Find the parts of a context that answer a question, as transformers' pipeline did.

        A context that does not fit into one window is cut into several, with the question on each.
        In each, start and end get a softmax over the tokens of the context and the first special
        token, and a span scores the product of both. Scores of equal texts are added up: over
        several windows they can exceed 1.

        Args:
            question: one, or several.
            context: one, or several: the text that holds the answer. Of several, each goes with
                its question; a single one, or a single question, goes with all.
            top_k: how many answers.
            max_answer_length: in tokens.
            window: tokens of a window, question and special tokens included; None: 384, or what
                the bundle takes.
            stride: tokens of the context that neighbouring windows share; None: 128, or half a
                window.
            whole_words: widen an answer to whole words of the tokenizer.
            impossible: count "there is no answer" among the answers: the empty text at 0, with the
                least score over the windows.

        Returns:
            For each question its answers, best first; none where the context has no tokens. For
            two strings, those of the one.

        Raises:
            InputError: not a question-answering bundle; an option out of range; a question that
                leaves no room in a window.
        """
        options = question_answering.settle(
            self._runner,
            top_k=top_k,
            max_answer_length=max_answer_length,
            window=window,
            stride=stride,
            whole_words=whole_words,
            impossible=impossible,
        )
        pairs = question_answering.paired(question, context)
        answers = question_answering.answer(self._runner, pairs, options)
        single = isinstance(question, str) and isinstance(context, str)
        return answers[0] if single else answers


def _answer(texts: str | Sequence[_SomeText], compute: Callable[[Sequence[_SomeText]], Any]) -> Any:
    """The results of several texts; for a single one, its own."""
    return compute([texts])[0] if isinstance(texts, str) else compute(as_sequence(texts, "texts"))
