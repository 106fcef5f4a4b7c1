"""``mbert run``: a bundle's results for texts from the command line, a file or standard input."""

from __future__ import annotations

import json
import sys
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

_HAS_TOP_K = ("fill-mask", "text-classification", "sparse-embedding")
# Of a sparse embedding, unless the user asks for more: the text's best tokens.
_SHOWN_TOKENS = 10


@click.command("run")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, help="A text; repeat the option for several.")
@click.option(
    "--file",
    "file",
    type=click.File("r", encoding="utf-8"),
    help="One text a line; - for standard input.",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Candidates, labels or weights.")
@click.option("--pooling", type=click.Choice(POOLINGS), help="Of embeddings.")
@click.option(
    "--aggregation",
    type=click.Choice(AGGREGATIONS),
    help="How tokens become entities. Default: simple.",
)
@click.option("--role", type=click.Choice(ROLES), help="Of multi-vector texts. Default: document.")
@click.option("--truncate", is_flag=True, help="Cut texts that are too long instead of failing.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: every core.")
@click.option("--device", help="Which GPU, for a bundle for GPUs: cuda:N. Default: the first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def main(
    bundle: Path,
    texts: tuple[str, ...],
    file: TextIO | None,
    top_k: int | None,
    pooling: str | None,
    aggregation: str | None,
    role: str | None,
    truncate: bool,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Run BUNDLE on texts: --text, --file, or one text a line on standard input."""
    try:
        given = _texts(texts, file)
        with load(bundle, threads=threads, device=device) as model:
            task = model.info.task
            if pooling is not None and task != "feature-extraction":
                raise click.UsageError(f"--pooling is for embeddings; {bundle} is {task}.")
            if aggregation is not None and task != "token-classification":
                raise click.UsageError(f"--aggregation is for entities; {bundle} is {task}.")
            if role is not None and task != "multi-vector":
                raise click.UsageError(f"--role is for multi-vector bundles; {bundle} is {task}.")
            if top_k is not None and task not in _HAS_TOP_K:
                raise click.UsageError(
                    f"--top-k picks candidates, labels or weights of a text; {bundle} is {task}."
                )
            if task == "fill-mask":
                answers = _fill_mask(model, given, top_k or 5, truncate)
            elif task == "text-classification":
                answers = _classify(model, given, top_k, truncate)
            elif task == "token-classification":
                answers = _tag(model, given, aggregation or "simple", truncate)
            elif task == "sparse-embedding":
                answers = _embed_sparse(model, given, top_k, truncate)
            elif task == "multi-vector":
                answers = _embed_multi(model, given, role or "document", truncate)
            else:
                answers = _embed(model, given, pooling, truncate)
    except MbertError as error:
        raise click.ClickException(str(error)) from error
    for text, (shown, answer) in zip(given, answers, strict=True):
        if as_json:
            click.echo(json.dumps({"text": text, **answer}, ensure_ascii=False))
        else:
            click.echo(f"{text}\n{shown}")


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


def _fill_mask(
    model: Model, texts: list[str], top_k: int, truncate: bool
) -> list[tuple[str, dict[str, Any]]]:
    answers = []
    for masks in model.fill_mask(texts, top_k=top_k, truncate=truncate):
        lines = [
            "  "
            + "  ".join(f"{c.token.strip() or repr(c.token)} {c.score:.3f}" for c in candidates)
            for candidates in masks
        ]
        answers.append(("\n".join(lines), {"masks": [[asdict(c) for c in m] for m in masks]}))
    return answers


def _classify(
    model: Model, texts: list[str], top_k: int | None, truncate: bool
) -> list[tuple[str, dict[str, Any]]]:
    answers = []
    for labels in model.classify(texts, top_k=top_k, truncate=truncate):
        shown = "  " + "  ".join(f"{entry.label} {entry.score:.4f}" for entry in labels)
        answers.append((shown, {"labels": [asdict(entry) for entry in labels]}))
    return answers


def _tag(
    model: Model, texts: list[str], aggregation: str, truncate: bool
) -> list[tuple[str, dict[str, Any]]]:
    answers = []
    for entities in model.tag(texts, aggregation=aggregation, truncate=truncate):
        lines = [f"  {e.label} {e.score:.4f} {e.start}-{e.end} {e.text.strip()}" for e in entities]
        shown = "\n".join(lines) or "  no entities"
        answers.append((shown, {"entities": [asdict(entity) for entity in entities]}))
    return answers


def _embed(
    model: Model, texts: list[str], pooling: str | None, truncate: bool
) -> list[tuple[str, dict[str, Any]]]:
    answers = []
    for vector in model.embed(texts, pooling=pooling, truncate=truncate):
        head = " ".join(f"{value:+.4f}" for value in vector[:6])
        shown = f"  [{head} ...] {vector.size} dimensions"
        answers.append((shown, {"embedding": _exact(vector)}))
    return answers


def _embed_sparse(
    model: Model, texts: list[str], top_k: int | None, truncate: bool
) -> list[tuple[str, dict[str, Any]]]:
    answers = []
    for embedding in model.embed_sparse(texts, top_k=top_k, truncate=truncate):
        best = model.token_weights(embedding, top_k or _SHOWN_TOKENS)
        listed = "  ".join(f"{w.token.strip() or repr(w.token)} {w.weight:.3f}" for w in best)
        shown = f"  {listed}  ({embedding.indices.size} tokens)"
        weights = {"indices": embedding.indices.tolist(), "values": _exact(embedding.values)}
        answers.append((shown, {**weights, "best": [asdict(weight) for weight in best]}))
    return answers


def _embed_multi(
    model: Model, texts: list[str], role: str, truncate: bool
) -> list[tuple[str, dict[str, Any]]]:
    answers = []
    for vectors in model.embed_multi(texts, role=role, truncate=truncate):
        shown = f"  {vectors.shape[0]} vectors of {vectors.shape[1]} dimensions"
        answers.append((shown, {"embeddings": [_exact(vector) for vector in vectors]}))
    return answers


def _exact(values: NDArray[np.float32]) -> list[float]:
    # Nine significant digits give a float32 back exactly.
    return [float(f"{value:.9g}") for value in values]
