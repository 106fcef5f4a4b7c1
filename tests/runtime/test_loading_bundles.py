"""Loading bundles of whole files: weights, model, tokenizer and target are checked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import mbert
from mbert.errors import BackendError, BundleError
from support.bundles import manifest_of, rewrite


@pytest.mark.parametrize("entries", [{"target": "l4"}, {"backend": "tensorrt"}])
def test_a_bundle_for_another_target_never_runs_here(copied: Path, entries: dict[str, str]) -> None:
    rewrite(copied, {**manifest_of(copied), **entries})
    with pytest.raises(BackendError, match="--cpu"):
        mbert.load(copied)


def point_data_at(folder: Path, location: str) -> None:
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    pointed = 0
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
                pointed += 1
    assert pointed
    onnx.save(model, folder / "model.onnx")


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize(
    "location",
    [
        "../secret",
        "{parent}/secret",
        "sub/../../secret",
        "link",
        "absolute link",
        "sub/link",
        "linked folder/secret",
    ],
)
def test_weights_outside_the_bundle_are_never_read(
    embed_bundle: Path,
    edited: Callable[..., Path],
    tmp_path: Path,
    location: str,
    kernels: bool,
) -> None:
    """model.onnx has the manifest's hash; the paths inside it leave the bundle."""

    def change(folder: Path) -> None:
        shutil.copy(folder / "model.onnx.data", folder.parent / "secret")
        (folder / "model.onnx.data").unlink()
        (folder / "sub").mkdir()
        (folder / "link").symlink_to("../secret")
        (folder / "absolute link").symlink_to(folder.parent / "secret")
        (folder / "sub" / "link").symlink_to("../../secret")
        (folder / "linked folder").symlink_to("..")
        point_data_at(folder, location.format(parent=folder.parent))

    bundle = edited(embed_bundle, change)
    with pytest.raises((BackendError, BundleError)):
        mbert.load(bundle, kernels=kernels)


def test_weights_under_another_name_that_is_listed_are_read(
    embed_bundle: Path, edited: Callable[..., Path]
) -> None:
    """A test of the tests: a bundle that they edit still works."""
    bundle = edited(embed_bundle, lambda folder: point_data_at(folder, "./model.onnx.data"))
    with mbert.load(bundle) as model:
        assert model.run([[1, 2]])[0].shape == (2, 64)


def test_weights_that_the_manifest_does_not_list_are_never_read(
    embed_bundle: Path, edited: Callable[..., Path]
) -> None:
    """Size and hash of an unlisted file are never checked."""

    def change(folder: Path) -> None:
        (folder / "model.onnx.data").rename(folder / "unlisted")
        point_data_at(folder, "unlisted")

    bundle = edited(embed_bundle, change)
    with pytest.raises((BackendError, BundleError)):
        mbert.load(bundle)


def test_a_model_that_is_no_onnx_is_refused(
    embed_bundle: Path, edited: Callable[..., Path]
) -> None:
    bundle = edited(embed_bundle, lambda f: (f / "model.onnx").write_bytes(b"no model at all"))
    with pytest.raises(BundleError, match=r"model\.onnx .*ONNX"):
        mbert.load(bundle)


def test_a_file_that_is_no_tokenizer_is_refused(
    embed_bundle: Path, edited: Callable[..., Path]
) -> None:
    bundle = edited(embed_bundle, lambda f: (f / "tokenizer.json").write_text("{}"))
    with pytest.raises(BundleError, match=r"tokenizer\.json .*tokenizer"):
        mbert.load(bundle)
