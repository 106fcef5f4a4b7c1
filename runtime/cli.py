"""``mbert run``: a bundle's results for texts from the command line, a file or standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import click
import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError, MbertError

from .late_interaction import ROLES
from .model import Model, load
from .tasks.embedding import POOLINGS
from .tasks.token_classification import AGGREGATIONS

# Of a sparse embedding, unless the user asks for more: the text's best tokens.
_SHOWN_TOKENS = 10

# Texts; how the answer to each is shown, and what goes into its JSON object.
Answers = Iterator[tuple[str, str, dict[str, Any]]]


@click.command("run")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, help="A text; repeat the option for several.")
@click.option(
    "--file",
    "file",
    type=click.File("r", encoding="utf-8"),
    help="One text a line; - for standard input.",
)
@click.option("--question", help="What the texts are asked, with question-answering.")
@click.option("--query", help="What the texts are ranked for, with rerankers and multi-vector.")
@click.option("--top-k", type=click.IntRange(min=1), help="Candidates, labels, weights or answers.")
@click.option("--prompt", help="A name of the checkpoint's, or a text: in front of each text.")
@click.option("--dimensions", type=click.IntRange(min=1), help="Of embeddings: the first ones.")
@click.option("--pooling", type=click.Choice(POOLINGS), help="Of embeddings.")
@click.option(
    "--aggregation",
    type=click.Choice(AGGREGATIONS),
    help="How tokens become entities. Default: simple.",
)
@click.option("--role", type=click.Choice(ROLES), help="Of multi-vector texts. Default: document.")
@click.option(
    "--truncate",
    is_flag=True,
    default=None,
    help="Cut texts that are too long instead of failing.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Default: every core.")
@click.option("--device", help="Which GPU, for a bundle for GPUs: cuda:N. Default: the first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def main(
    bundle: Path,
    texts: tuple[str, ...],
    file: TextIO | None,
    threads: int | None,
    device: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run BUNDLE on texts: --text, --file, or one text a line on standard input."""
    chosen = {name: value for name, value in options.items() if value is not None}
    try:
        given = _texts(texts, file)
        with load(bundle, threads=threads, device=device) as model:
            kind = _settle_kind(chosen, model.info.task, bundle)
            answers = list(_KINDS[kind](model, given, **chosen))
    except MbertError as error:
        raise click.ClickException(str(error)) from error
    for text, shown, answer in answers:
        if as_json:
            click.echo(json.dumps({"text": text, **answer}, ensure_ascii=False))
        else:
            click.echo(f"{text}\n{shown}")


def _settle_kind(chosen: dict[str, Any], task: str, bundle: Path) -> str:
    """What is to be done with the texts: ranking, or the task."""
    kind = _RANKING if "query" in chosen and task in _RANKING_TASKS else task
    for name in chosen:
        purpose, kinds = _OPTIONS[name]
        if kind not in kinds:
            option = "--" + name.replace("_", "-")
            what = "with --query it ranks" if kind == _RANKING else f"{bundle} is {task}"
            raise click.UsageError(f"{option} is for {purpose}; {what}.")
    if task == "question-answering" and "question" not in chosen:
        raise click.UsageError(f"{bundle} is {task}, which needs --question.")
    return kind


def _texts(texts: tuple[str, ...], file: TextIO | None) -> list[str]:
    if texts and file:
        raise click.UsageError("Give --text or --file, not both.")
    if texts:
        return list(texts)
    if file is None and sys.stdin.isatty():
        click.echo("Reading texts, one a line, until Ctrl-D.", err=True)
    try:
        lines = [line.rstrip("\r\n") for line in (file or sys.stdin)]
    except UnicodeDecodeError as error:
        raise InputError(f"The input is not UTF-8: {error}.") from error
    return lines


def _fill_mask(model: Model, texts: list[str], **options: Any) -> Answers:
    for text, masks in zip(texts, model.fill_mask(texts, **options), strict=True):
        lines = [
            "  "
            + "  ".join(f"{c.token.strip() or repr(c.token)} {c.score:.3f}" for c in candidates)
            for candidates in masks
        ]
        yield text, "\n".join(lines), {"masks": [[asdict(c) for c in m] for m in masks]}


def _classify(model: Model, texts: list[str], **options: Any) -> Answers:
    for text, labels in zip(texts, model.classify(texts, **options), strict=True):
        shown = "  " + "  ".join(f"{entry.label} {entry.score:.4f}" for entry in labels)
        yield text, shown, {"labels": [asdict(entry) for entry in labels]}


def _tag(model: Model, texts: list[str], **options: Any) -> Answers:
    for text, entities in zip(texts, model.tag(texts, **options), strict=True):
        lines = [f"  {e.label} {e.score:.4f} {e.start}-{e.end} {e.text.strip()}" for e in entities]
        yield text, "\n".join(lines) or "  no entities", {"entities": [asdict(e) for e in entities]}


def _answer(model: Model, texts: list[str], *, question: str, **options: Any) -> Answers:
    for text, answers in zip(
        texts, model.answer([question] * len(texts), texts, **options), strict=True
    ):
        lines = [f"  {a.score:.4f} {a.start}-{a.end} {a.text.strip()}" for a in answers]
        yield text, "\n".join(lines) or "  no answer", {"answers": [asdict(a) for a in answers]}


def _rerank(model: Model, texts: list[str], *, query: str, **options: Any) -> Answers:
    """Best first."""
    for result in model.rerank(query, texts, **options):
        found = {"index": result.index, "score": result.score}
        yield result.document, f"  {result.score:.4f}", found


def _embed(model: Model, texts: list[str], **options: Any) -> Answers:
    for text, vector in zip(texts, model.embed(texts, **options), strict=True):
        head = " ".join(f"{value:+.4f}" for value in vector[:6])
        shown = f"  [{head} ...] {vector.size} dimensions"
        yield text, shown, {"embedding": _exact(vector)}


def _embed_sparse(model: Model, texts: list[str], **options: Any) -> Answers:
    for text, embedding in zip(texts, model.embed_sparse(texts, **options), strict=True):
        best = model.token_weights(embedding, options.get("top_k", _SHOWN_TOKENS))
        listed = "  ".join(f"{w.token} {w.weight:.3f}" for w in best)
        shown = f"  {listed}  ({embedding.indices.size} tokens)"
        weights = {"indices": embedding.indices.tolist(), "values": _exact(embedding.values)}
        yield text, shown, {**weights, "best": [asdict(weight) for weight in best]}


def _embed_multi(
    model: Model, texts: list[str], *, role: str = "document", **options: Any
) -> Answers:
    for text, vectors in zip(texts, model.embed_multi(texts, role=role, **options), strict=True):
        shown = f"  {vectors.shape[0]} vectors of {vectors.shape[1]} dimensions"
        yield text, shown, {"embeddings": [_exact(vector) for vector in vectors]}


def _exact(values: NDArray[np.float32]) -> list[float]:
    # Nine significant digits give a float32 back exactly.
    return [float(f"{value:.9g}") for value in values]


_RANKING = "ranking"
_RANKING_TASKS = {"text-classification", "multi-vector"}

_KINDS: dict[str, Callable[..., Answers]] = {
    "feature-extraction": _embed,
    "sentence-similarity": _embed,
    "fill-mask": _fill_mask,
    "text-classification": _classify,
    "token-classification": _tag,
    "question-answering": _answer,
    "sparse-embedding": _embed_sparse,
    "multi-vector": _embed_multi,
    _RANKING: _rerank,
}

_EMBED = {"feature-extraction", "sentence-similarity"}

# What each option is for, and the kinds that take it.
_OPTIONS: dict[str, tuple[str, Collection[str]]] = {
    "question": ("answers", {"question-answering"}),
    "query": ("ranking", {_RANKING}),
    "top_k": (
        "candidates, labels, weights, answers and ranking",
        {
            "fill-mask",
            "text-classification",
            "question-answering",
            "sparse-embedding",
            _RANKING,
        },
    ),
    "prompt": ("embeddings and ranking", {*_EMBED, "sparse-embedding", _RANKING}),
    "dimensions": ("embeddings", _EMBED),
    "pooling": ("embeddings of hidden states", {"feature-extraction"}),
    "aggregation": ("entities", {"token-classification"}),
    "role": ("multi-vector bundles", {"multi-vector"}),
    "truncate": ("texts that are not cut into windows", _KINDS.keys() - {"question-answering"}),
}
