"""Weights: each form in which they are stored, and each way in which they can be wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mbert.errors import CheckpointError
from mbert.export.checkpoint import open_checkpoint
from mbert.export.tasks import load_model
from support.checkpoints import edit_config, make_checkpoint

EMBEDDING = "model.embeddings.tok_embeddings.weight"
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def stored(small_checkpoint: Path) -> dict[str, Tensor]:
    return load_file(small_checkpoint / WEIGHTS)


@pytest.fixture
def checkpoint(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the small fill-mask checkpoint, to be changed."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))


def store(folder: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / WEIGHTS)
    return folder


def shard(folder: Path, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Store in two files and an index; return the index's map."""
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    (folder / WEIGHTS).unlink()
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in halves.items() for name in part}
    write_index(folder, {"metadata": {}, "weight_map": weight_map})
    return weight_map


def write_index(folder: Path, contents: object) -> None:
    (folder / INDEX).write_text(json.dumps(contents), encoding="utf-8")


def parameters(folder: Path, task: str = "fill-mask") -> dict[str, Tensor]:
    return dict(load_model(open_checkpoint(folder), task).named_parameters(remove_duplicate=False))


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in found
    )


def refuses(folder: Path, message: str, task: str = "fill-mask") -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(open_checkpoint(folder), task)


# ---- the forms that weights come in


def test_every_parameter_is_the_stored_tensor(
    small_checkpoint: Path, stored: dict[str, Tensor]
) -> None:
    loaded = parameters(small_checkpoint)
    assert set(loaded) == {*stored, "decoder.weight"}
    assert torch.equal(loaded.pop("decoder.weight"), stored[EMBEDDING])
    assert same(loaded, stored)


def test_the_model_is_ready_for_inference(small_checkpoint: Path) -> None:
    model = load_model(open_checkpoint(small_checkpoint), "fill-mask")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}
    assert {buffer.device.type for buffer in model.buffers()} == {"cpu"}


def test_a_tied_decoder_shares_the_memory_of_the_embedding(small_checkpoint: Path) -> None:
    loaded = parameters(small_checkpoint)
    assert loaded["decoder.weight"].data_ptr() == loaded[EMBEDDING].data_ptr()


def test_sharded_weights_are_the_same_model(
    checkpoint: Path, small_checkpoint: Path, stored: dict[str, Tensor]
) -> None:
    shard(checkpoint, stored)
    assert same(parameters(checkpoint), parameters(small_checkpoint))


def test_a_bare_encoder_is_the_same_model(
    checkpoint: Path, small_checkpoint: Path, stored: dict[str, Tensor]
) -> None:
    bare = {
        name.removeprefix("model."): tensor
        for name, tensor in stored.items()
        if name.startswith("model.")
    }
    store(checkpoint, bare)
    expected = parameters(small_checkpoint, "feature-extraction")
    assert same(parameters(checkpoint, "feature-extraction"), expected)


def test_a_bare_encoder_with_a_head_is_the_same_model(
    checkpoint: Path, small_checkpoint: Path, stored: dict[str, Tensor]
) -> None:
    store(checkpoint, {name.removeprefix("model."): t for name, t in stored.items()})
    assert same(parameters(checkpoint), parameters(small_checkpoint))


def test_a_bare_encoder_saved_by_transformers_loads(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "bare", "feature-extraction")
    stored = load_file(folder / WEIGHTS)
    assert not any(name.startswith("model.") for name in stored)
    expected = {f"model.{name}": tensor for name, tensor in stored.items()}
    assert same(parameters(folder, "feature-extraction"), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_float_types_become_float32(
    checkpoint: Path, stored: dict[str, Tensor], dtype: torch.dtype
) -> None:
    store(checkpoint, {name: tensor.to(dtype) for name, tensor in stored.items()})
    loaded = parameters(checkpoint)
    del loaded["decoder.weight"]
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    assert same(loaded, {name: tensor.to(dtype).float() for name, tensor in stored.items()})


def test_the_head_of_another_task_is_left_out(small_checkpoint: Path) -> None:
    loaded = parameters(small_checkpoint, "feature-extraction")
    assert all(name.startswith("model.") for name in loaded)


def test_buffers_that_follow_from_the_config_are_left_out(
    checkpoint: Path, stored: dict[str, Tensor]
) -> None:
    extra = {"model.layers.0.attn.rotary_emb.inv_freq": torch.ones(16)}
    store(checkpoint, {**stored, **extra})
    assert extra.keys().isdisjoint(parameters(checkpoint))


# ---- tied and untied decoders


def test_a_stored_copy_of_the_tied_decoder_is_fine(
    checkpoint: Path, stored: dict[str, Tensor]
) -> None:
    store(checkpoint, {**stored, "decoder.weight": stored[EMBEDDING].clone()})
    assert torch.equal(parameters(checkpoint)["decoder.weight"], stored[EMBEDDING])


@pytest.mark.parametrize("change", ["value", "shape"])
def test_a_tied_decoder_that_differs_is_refused(
    checkpoint: Path, stored: dict[str, Tensor], change: str
) -> None:
    other = stored[EMBEDDING] + 1 if change == "value" else stored[EMBEDDING][:-1].clone()
    store(checkpoint, {**stored, "decoder.weight": other})
    refuses(checkpoint, r"decoder\.weight differs from the embedding\. Set tie_word_embeddings")


def test_an_untied_decoder_has_its_own_weight(checkpoint: Path, stored: dict[str, Tensor]) -> None:
    edit_config(checkpoint, tie_word_embeddings=False)
    store(checkpoint, {**stored, "decoder.weight": stored[EMBEDDING] + 1})
    assert torch.equal(parameters(checkpoint)["decoder.weight"], stored[EMBEDDING] + 1)


def test_an_untied_decoder_without_a_weight_is_refused(checkpoint: Path) -> None:
    edit_config(checkpoint, tie_word_embeddings=False)
    refuses(checkpoint, r"missing: decoder\.weight")


# ---- tensors that do not fit


def test_missing_tensors_are_named(checkpoint: Path, stored: dict[str, Tensor]) -> None:
    gone = ("model.layers.1.mlp.Wi.weight", "model.final_norm.weight")
    store(checkpoint, {name: t for name, t in stored.items() if name not in gone})
    refuses(checkpoint, r"missing: model\.final_norm\.weight, model\.layers\.1\.mlp\.Wi\.weight")


def test_unexpected_tensors_are_named(checkpoint: Path, stored: dict[str, Tensor]) -> None:
    extra = {"model.adapter.weight": torch.ones(2)}
    store(checkpoint, {**stored, **extra})
    refuses(checkpoint, r"unexpected: model\.adapter\.weight")


def test_an_encoder_that_is_deeper_than_its_config_is_refused(checkpoint: Path) -> None:
    kinds = json.loads((checkpoint / "config.json").read_text())["layer_types"]
    edit_config(checkpoint, num_hidden_layers=3, layer_types=kinds[:3])
    refuses(checkpoint, r"unexpected: model\.layers\.3\.attn\.Wo\.weight")
    refuses(checkpoint, r"unexpected: model\.layers\.3\.attn", task="feature-extraction")


def test_tensors_of_the_wrong_shape_are_named_with_both_shapes(checkpoint: Path) -> None:
    edit_config(checkpoint, vocab_size=501)
    refuses(checkpoint, r"wrong shape: .*tok_embeddings\.weight is \[500, 64\], expected \[501, 64")


def test_all_that_is_wrong_is_named_at_once(checkpoint: Path, stored: dict[str, Tensor]) -> None:
    changed = {**stored, "model.x": torch.ones(1), "head.norm.weight": torch.ones(3)}
    del changed["model.final_norm.weight"]
    store(checkpoint, changed)
    refuses(
        checkpoint,
        r"missing: model\.final_norm\.weight; unexpected: model\.x; "
        r"of the wrong shape: head\.norm\.weight is \[3\], expected \[64\]",
    )


def test_a_long_list_of_tensors_is_cut(checkpoint: Path, stored: dict[str, Tensor]) -> None:
    store(checkpoint, {EMBEDDING: stored[EMBEDDING]})
    with pytest.raises(CheckpointError, match=r"missing: .* \.\.\.") as raised:
        load_model(open_checkpoint(checkpoint), "fill-mask")
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool], ids=str)
def test_a_quantised_tensor_is_refused(
    checkpoint: Path, stored: dict[str, Tensor], dtype: torch.dtype
) -> None:
    name = "model.layers.0.attn.Wqkv.weight"
    store(checkpoint, {**stored, name: stored[name].to(dtype)})
    refuses(checkpoint, rf"{name} is stored as {dtype}; expected float32.*Quantised")


# ---- files that are damaged or missing


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        b"\xff" * 64,
    ],
    ids=["empty", "lfs pointer", "garbage"],
)
def test_a_file_that_is_no_safetensors_is_refused(checkpoint: Path, contents: bytes) -> None:
    (checkpoint / WEIGHTS).write_bytes(contents)
    refuses(checkpoint, r"model\.safetensors cannot be read as safetensors.*truncated")


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_truncated_weights_are_refused(checkpoint: Path, keep: int) -> None:
    whole = (checkpoint / WEIGHTS).read_bytes()
    (checkpoint / WEIGHTS).write_bytes(whole[:keep])
    refuses(checkpoint, "cannot be read as safetensors.*truncated")


@pytest.mark.parametrize("file", ["../outside.safetensors", "/outside.safetensors", "x/a"])
def test_an_index_that_leaves_the_folder_is_refused(
    checkpoint: Path, stored: dict[str, Tensor], file: str
) -> None:
    weight_map = shard(checkpoint, stored)
    # A file that would serve, were the name followed.
    shutil.copy(checkpoint / "a.safetensors", checkpoint.parent / "outside.safetensors")
    renamed = {n: file if s == "a.safetensors" else s for n, s in weight_map.items()}
    write_index(checkpoint, {"weight_map": renamed})
    refuses(checkpoint, "names .*expected a file beside it")


def test_a_missing_shard_is_named(checkpoint: Path, stored: dict[str, Tensor]) -> None:
    shard(checkpoint, stored)
    (checkpoint / "b.safetensors").unlink()
    refuses(checkpoint, r"b\.safetensors")


def test_a_shard_that_lacks_its_tensor_is_named(
    checkpoint: Path, stored: dict[str, Tensor]
) -> None:
    weight_map = shard(checkpoint, stored)
    write_index(checkpoint, {"weight_map": {**weight_map, "model.ghost": "b.safetensors"}})
    refuses(checkpoint, r"places model\.ghost in b\.safetensors, which lacks it")


@pytest.mark.parametrize(
    "contents",
    [[], {}, {"weight_map": None}, {"weight_map": 3}, {"weight_map": {"model.x": 3}}],
    ids=json.dumps,
)
def test_an_index_that_maps_nothing_is_refused(
    checkpoint: Path, stored: dict[str, Tensor], contents: object
) -> None:
    shard(checkpoint, stored)
    write_index(checkpoint, contents)
    refuses(checkpoint, r"index\.json")


def test_an_index_that_is_no_json_is_refused(checkpoint: Path, stored: dict[str, Tensor]) -> None:
    shard(checkpoint, stored)
    (checkpoint / INDEX).write_text("{")
    refuses(checkpoint, r"index\.json is not a safetensors index")


def test_a_folder_without_weights_is_refused(checkpoint: Path) -> None:
    (checkpoint / WEIGHTS).unlink()
    refuses(checkpoint, r"neither model\.safetensors nor model\.safetensors\.index\.json")


def test_pickled_weights_are_named_and_never_opened(checkpoint: Path) -> None:
    (checkpoint / WEIGHTS).unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(b"not even a pickle")
    refuses(checkpoint, r"It has pytorch_model\.bin, .*convert it to safetensors")


# ---- heads


def test_a_fill_mask_checkpoint_has_no_classifier(small_checkpoint: Path) -> None:
    refuses(
        small_checkpoint,
        r"missing: classifier\.bias, classifier\.weight.*without this task's head: choose another",
        task="text-classification",
    )


def test_a_bare_encoder_has_no_head(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "bare", "feature-extraction")
    refuses(folder, r"missing: .*head\.dense\.weight.*choose another task")


def test_a_classifier_checkpoint_has_no_decoder(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "classifier", "text-classification", num_labels=3)
    refuses(folder, r"missing: decoder\.bias.*choose another task")
    loaded = parameters(folder, "text-classification")
    assert loaded["classifier.weight"].shape == (3, 64)
