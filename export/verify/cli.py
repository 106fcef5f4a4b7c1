"""``mbert verify``: compare a bundle with its checkpoint on texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

import click

from mbert.errors import MbertError
from mbert.steps import Steps

from .bundle import verify_bundle


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
    """Compare BUNDLE with PyTorch in float64 on the weights of CHECKPOINT.

    The exit status is 1 if an error is beyond its tolerance.
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
        _print(record)
    if not record["passed"]:
        raise click.ClickException("The bundle errs beyond the tolerance.")


def _print(record: dict[str, Any]) -> None:
    click.echo(f"{record['sequences']} sequences, {record['tokens']} tokens, {record['judge']}")
    for output, figures in record["outputs"].items():
        click.echo(
            f"{output}: error {figures['max_abs_error']:.2e}, tolerance {figures['tolerance']:.2e} "
            f"({record['factor']:g} times PyTorch's own in {record['precision']}), "
            f"largest value {figures['largest_value']:.3g}"
        )
    if record["least_cosine"] is not None:
        cosine, least = record["hidden_state_cosine"], record["least_cosine"]
        click.echo(f"hidden states: cosine {cosine:.5f}, expected at least {least}")
