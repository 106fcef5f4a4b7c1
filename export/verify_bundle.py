"""``mbert verify``: a bundle against PyTorch once more, on texts of the user's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mbert.errors import ExportError, InputError, MbertError
from mbert.runtime.backends import open_session
from mbert.runtime.bundle import Bundle, open_bundle
from mbert.runtime.packing import pack
from mbert.runtime.tokenization import Tokenizer
from mbert.steps import Steps

from .checkpoint import Checkpoint, open_checkpoint
from .inputs import make_batch
from .pipeline import Progress, shape_of
from .reduce import reduction
from .sample import read_lines, read_sample
from .tasks import load_model
from .verify import (
    FACTORS,
    LEAST_COSINE,
    SEED,
    Reduce,
    awkward_batch,
    beyond_tolerance,
    compare,
    make_reference,
)

# Tokens that PyTorch computes at a time: float64 takes twice the memory of the run itself.
_TOKENS = 2048


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("checkpoint")
@click.option(
    "--file",
    "file",
    type=click.File("r", encoding="utf-8"),
    help="One text a line; - for standard input. Default: a built-in sample.",
)
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--device", help="Which GPU, for a bundle for GPUs: cuda:N. Default: the first.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(
    bundle: Path,
    checkpoint: str,
    file: TextIO | None,
    revision: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Compare what BUNDLE computes with PyTorch in float64, on the weights of CHECKPOINT.

    The exit status is 1 where an error is beyond the tolerance.
    """
    steps = Steps(quiet=as_json)
    try:
        texts = [line.rstrip("\r\n") for line in file] if file is not None else None
        record = verify_bundle(
            bundle, checkpoint, texts, revision=revision, device=device, progress=steps
        )
    except UnicodeDecodeError as error:
        raise click.ClickException(f"The input is not UTF-8: {error}.") from error
    except MbertError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(record))
    else:
        click.echo(f"{record['sequences']} sequences, {record['tokens']} tokens, {record['judge']}")
        for output, found in record["outputs"].items():
            click.echo(
                f"{output}: error {found['max_abs_error']:.2e}, tolerance {found['tolerance']:.2e} "
                f"({FACTORS[record['precision']]:g} times PyTorch's own in {record['precision']}), "
                f"largest value {found['largest_value']:.3g}"
            )
        if record["reduced_on_cpu"]:
            cosine = record["hidden_state_cosine"]
            click.echo(f"hidden states: cosine {cosine:.5f}, expected at least {LEAST_COSINE}")
    if not record["passed"]:
        raise click.ClickException("The bundle errs beyond the tolerance.")


def verify_bundle(
    bundle: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    texts: Sequence[str] | None = None,
    *,
    revision: str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run texts through a bundle, as users run it, and through PyTorch; compare as an export does.

    Args:
        bundle: a folder written by ``mbert-export``; one for a GPU needs that GPU.
        checkpoint: the folder or hub id that it was exported from.
        texts: cut where they are too long; None: a built-in sample, or random ids without a
            tokenizer.
        revision: branch, tag or commit of a hub id.
        device: as in :func:`mbert.load`.
        progress: called with the name of each step; returns a context manager around it.

    Returns:
        ``passed``; ``judge``; ``precision``; ``reduced_on_cpu``; ``sequences`` and ``tokens``, how
        many; ``hidden_state_cosine``, of PyTorch in the bundle's precision with float64, the least
        mean of a batch, which is judged of a CPU's reduced precision; and for each of ``outputs``
        the figures of the batch whose error is nearest its tolerance.

    Raises:
        BundleError: as :func:`mbert.load`.
        BackendError: as :func:`mbert.load`.
        CheckpointError: the checkpoint cannot be read.
        ExportError: it is of another shape than the bundle.
        InputError: no texts, or no tokenizer for them.
    """
    step: Progress = progress or _silent
    with step("load the bundle"):
        opened = open_bundle(bundle)
        manifest = opened.manifest
        session = open_session(opened, threads=None, device=device, kernels=True)
    records = []
    reduced = manifest.reduced_on_cpu
    reduce: Reduce | None = None
    try:
        with step("read the checkpoint"):
            source = open_checkpoint(os.fspath(checkpoint), revision)
            _check_shape(source, opened)
            sequences = _sequences(opened, texts)
        with step("compare"):
            for model, inputs in _batches(source, opened, sequences):
                if reduced and reduce is None:
                    reduce = _reduction(model, source, opened)
                reference = make_reference(model, manifest.task, inputs, manifest.precision, reduce)
                records.append(compare({manifest.backend: lambda: session.run}, reference))
    finally:
        session.close()
    lengths = [length for record in records for length in record["batch"]["lengths"]]
    cosine = min(record["hidden_state_cosine"]["mean"] for record in records)
    turned = reduced and not cosine >= LEAST_COSINE
    return {
        "passed": not turned and not any(map(beyond_tolerance, records)),
        "hidden_state_cosine": cosine,
        "judge": f"PyTorch {torch.__version__} in float64",
        "precision": manifest.precision,
        "reduced_on_cpu": reduced,
        "sequences": len(lengths),
        "tokens": sum(lengths),
        "outputs": {spec.name: _worst(records, spec.name) for spec in manifest.outputs},
    }


def _silent(name: str) -> AbstractContextManager[object]:
    return nullcontext()


def _check_shape(source: Checkpoint, bundle: Bundle) -> None:
    """Refuse another model's weights: they would only fail the comparison."""
    shape = shape_of(source.config)
    differing = [
        f"{key} is {value!r}, the bundle's is {bundle.manifest.model[key]!r}"
        for key, value in shape.items()
        if key in bundle.manifest.model and bundle.manifest.model[key] != value
    ]
    if differing:
        raise ExportError(
            f"{source.source} is not what {bundle.folder} was exported from: "
            f"{'; '.join(differing)}. Name the checkpoint that it was."
        )


def _sequences(bundle: Bundle, texts: Sequence[str] | None) -> list[NDArray[np.int32]] | None:
    """The texts' ids; None: there is no tokenizer, and none is needed."""
    if texts is None and bundle.tokenizer is None:
        return None
    if texts is None:
        texts = read_lines(None)
    if not texts:
        raise InputError("There are no texts to compare on. Give one a line.")
    if bundle.tokenizer is None:
        raise InputError(
            f"{bundle.folder} has no tokenizer.json, since the checkpoint had none: it cannot be "
            "compared on texts. Leave them out; random ids take their place."
        )
    return Tokenizer(bundle.tokenizer, bundle.manifest.limits, bundle.manifest.vocab_size).encode(
        texts, "truncate"
    )


def _batches(
    source: Checkpoint, bundle: Bundle, sequences: list[NDArray[np.int32]] | None
) -> Iterator[tuple[nn.Module, dict[str, NDArray[np.int32]]]]:
    """Packed batches, each with the model afresh: a reference changes its precision."""
    manifest = bundle.manifest
    if sequences is None:
        model = load_model(source, manifest.task)
        yield model, awkward_batch(model, source.config, manifest.limits.max_sequence_length)
        return
    for batch in pack(sequences, _TOKENS, manifest.limits.max_sequences):
        model = load_model(source, manifest.task)
        lengths = np.diff(batch.cu_seqlens).tolist()
        vocab_size = source.config.vocab_size
        inputs = make_batch(model, lengths, vocab_size, np.random.default_rng(SEED))
        inputs["input_ids"][: batch.input_ids.size] = batch.input_ids
        yield model, inputs


def _reduction(model: nn.Module, source: Checkpoint, bundle: Bundle) -> Reduce:
    """Convert as an export does that is calibrated on the built-in sample."""
    limits, vocab_size = bundle.manifest.limits, source.config.vocab_size
    sample = read_sample(bundle.tokenizer, limits, vocab_size, None)
    return reduction(model, source.config, bundle.manifest.precision, sample)


def _worst(records: Sequence[dict[str, Any]], output: str) -> dict[str, float]:
    """The figures of the batch whose error is nearest its tolerance, or farthest beyond it."""
    figures = [
        {**errors[output], **record["outputs"][output]}
        for record in records
        for errors in record["checks"].values()
    ]

    def excess(found: dict[str, float]) -> float:
        return float(np.nan_to_num(found["max_abs_error"] - found["tolerance"], nan=np.inf))

    return max(figures, key=excess)
