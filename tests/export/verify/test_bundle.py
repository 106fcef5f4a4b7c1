"""``mbert verify``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from conftest import TINY
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from mbert.cli import main
from mbert.errors import InputError
from mbert.export.verify.bundle import verify_bundle
from support.checkpoints import edit_config

TEXTS = (
    "In the beginning God created the [MASK] and the earth.",
    "",
    " \t ",
    "Rzeka 🌊 河 النهر",
    "and it came to pass " * 40,
)


def verify(*arguments: object, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, arguments)], input=given)


def edited(bundle: Path, folder: Path, **entries: Any) -> Path:
    """A copy of a bundle with other entries in its manifest."""
    shutil.copytree(bundle, folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    return folder


def without_tokenizer(bundle: Path, folder: Path) -> Path:
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    del files["tokenizer.json"]
    copied = edited(bundle, folder, files=files)
    (copied / "tokenizer.json").unlink()
    return copied


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/tiny with one weight in the last layer changed a little."""
    folder = tmp_path_factory.mktemp("disturbed") / "tiny"
    shutil.copytree(TINY, folder)
    weights = load_file(folder / "model.safetensors")
    last = max(name for name in weights if name.endswith("mlp.Wo.weight"))
    weights[last][0, 0] += 0.05
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("task", ["fill_mask", "embed"])
def test_a_bundle_passes_on_texts(task: str, request: pytest.FixtureRequest) -> None:
    bundle: Path = request.getfixturevalue(f"tiny_{task}_bundle")
    result = verify(bundle, TINY, "--file", "-", "--json", given="\n".join(TEXTS))
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    lengths = [len(tokenizer.encode(text).ids) for text in TEXTS]
    assert record["passed"] is True
    assert record["sequences"] == len(TEXTS)
    assert record["tokens"] == sum(lengths)
    assert record["precision"] == "fp32"
    (figures,) = record["outputs"].values()
    assert 0 < figures["max_abs_error"] <= figures["tolerance"]
    assert figures["tolerance"] >= 4 * figures["pytorch_error"]


def test_without_texts_there_is_a_sample(tiny_fill_mask_bundle: Path) -> None:
    result = verify(tiny_fill_mask_bundle, TINY)
    assert result.exit_code == 0, result.output
    sequences, logits = result.stdout.splitlines()
    assert f"PyTorch {torch.__version__} in float64" in sequences
    assert logits.startswith("logits: error ")
    assert "(4 times PyTorch's own in fp32)" in logits


def test_other_weights_fail(tiny_embed_bundle: Path, disturbed: Path) -> None:
    result = verify(tiny_embed_bundle, disturbed, "--file", "-", given="a river\n")
    assert result.exit_code == 1
    assert "last_hidden_state: error " in result.stdout
    assert "errs beyond the tolerance" in result.stderr
    assert verify_bundle(tiny_embed_bundle, disturbed, ["a river"])["passed"] is False


@pytest.mark.parametrize(
    ("task", "source", "outputs"),
    [
        ("text-classification", "classifier", ["logits"]),
        ("question-answering", "reader", ["start_logits", "end_logits"]),
    ],
)
def test_every_output_is_compared(
    bundles: dict[str, Path],
    task: str,
    source: str,
    outputs: list[str],
    request: pytest.FixtureRequest,
) -> None:
    # Without a tokenizer: random ids.
    record = verify_bundle(bundles[task], request.getfixturevalue(source))
    assert list(record["outputs"]) == outputs
    assert record["passed"] is True
    assert record["sequences"] > 8


def test_another_shape_is_refused(tiny_embed_bundle: Path, tmp_path: Path) -> None:
    other = edit_config(Path(shutil.copytree(TINY, tmp_path / "other")), norm_eps=1e-3)
    result = verify(tiny_embed_bundle, other)
    assert result.exit_code == 1
    message = " ".join(result.stderr.split())
    assert "norm_eps is 0.001, the bundle's is 1e-05" in message
    assert "Name the checkpoint that it was" in message


def test_a_bundle_for_a_gpu_needs_it(tiny_embed_bundle: Path, tmp_path: Path) -> None:
    result = verify(edited(tiny_embed_bundle, tmp_path / "l4", target="l4"), TINY)
    assert result.exit_code == 1
    assert "was exported for l4" in " ".join(result.stderr.split())


def test_texts_need_a_tokenizer(tiny_embed_bundle: Path, tmp_path: Path) -> None:
    bundle = without_tokenizer(tiny_embed_bundle, tmp_path / "bundle")
    with pytest.raises(InputError, match=r"has no tokenizer\.json.* Leave them out"):
        verify_bundle(bundle, TINY, ["a"])


@pytest.mark.parametrize(
    ("given", "message"), [(b"", "There are no texts"), (b"\xff\xfe", "The input is not UTF-8")]
)
def test_input_that_is_no_text_is_refused(
    tiny_embed_bundle: Path, given: bytes, message: str
) -> None:
    result = verify(tiny_embed_bundle, TINY, "--file", "-", given=given)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_damaged_bundle_is_refused(tiny_embed_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_embed_bundle, tmp_path / "bundle"))
    (bundle / "model.onnx").write_bytes(b"")
    result = verify(bundle, TINY)
    assert result.exit_code == 1
    assert "was cut short or changed" in " ".join(result.stderr.split())
