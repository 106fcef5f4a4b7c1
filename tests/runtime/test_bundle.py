"""Opening bundles: all that is damaged, newer or outside is refused before anything is used."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

import mbert
from mbert.errors import BackendError, BundleError
from mbert.runtime import bundle as bundle_module
from mbert.runtime.bundle import open_bundle
from mbert.runtime.cache import cache_folder
from mbert.runtime.manifest import FORMAT_VERSION
from mbert.runtime.manifest_reader import read_manifest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("MBERT_CACHE", str(cache))
    return cache


@pytest.fixture
def copied(embed_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle, to be damaged."""
    return Path(shutil.copytree(embed_bundle, tmp_path / "bundle"))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are hashed, in order."""
    names: list[str] = []
    original = bundle_module.file_sha256

    def recording(path: Path) -> str:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(bundle_module, "file_sha256", recording)
    return names


def manifest_of(folder: Path) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return raw


def rewrite(folder: Path, raw: object) -> None:
    (folder / "manifest.json").write_text(json.dumps(raw))


def flip(path: Path, at: int) -> None:
    """Change one byte; the size stays."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


# ---- files


def test_a_whole_bundle_opens(embed_bundle: Path) -> None:
    opened = open_bundle(embed_bundle)
    assert opened.model == embed_bundle / "model.onnx"
    assert opened.tokenizer == embed_bundle / "tokenizer.json"
    assert opened.manifest.task == "feature-extraction"
    assert open_bundle(str(embed_bundle)).manifest == opened.manifest


def test_a_bundle_opens_from_a_relative_path_and_through_a_link(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied.parent)
    (copied.parent / "link").symlink_to("bundle")
    for path in ("bundle", "./bundle", "link", "bundle/../link"):
        assert open_bundle(path).manifest.task == "feature-extraction"


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json"])
def test_a_changed_byte_is_found(copied: Path, name: str) -> None:
    flip(copied / name, (copied / name).stat().st_size // 2)
    with pytest.raises(BundleError, match=f"{name} .*sha256"):
        mbert.load(copied)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "config.json"])
@pytest.mark.parametrize("by", [-1, 1])
def test_another_size_is_found(copied: Path, hashed: list[str], name: str, by: int) -> None:
    size = (copied / name).stat().st_size
    os.truncate(copied / name, size + by)
    with pytest.raises(BundleError, match=f"{name} .*{size + by} bytes.*{size}"):
        open_bundle(copied)
    assert hashed == []


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "README.md", "tokenizer.json"])
def test_a_missing_file_is_found(copied: Path, name: str) -> None:
    raw = manifest_of(copied)
    raw["files"].setdefault(name, {"size": 1, "sha256": ""})
    rewrite(copied, raw)
    (copied / name).unlink(missing_ok=True)
    with pytest.raises(BundleError, match=f"{name} is missing"):
        open_bundle(copied)


def test_a_folder_in_the_place_of_a_file_is_found(copied: Path) -> None:
    (copied / "config.json").unlink()
    (copied / "config.json").mkdir()
    raw = manifest_of(copied)
    raw["files"]["config.json"]["size"] = (copied / "config.json").stat().st_size
    rewrite(copied, raw)
    with pytest.raises(BundleError, match=r"config\.json"):
        open_bundle(copied)


def test_files_that_the_manifest_does_not_list_do_no_harm(copied: Path) -> None:
    (copied / "notes.txt").write_text("ours")
    assert open_bundle(copied).manifest.task == "feature-extraction"


# ---- the manifest


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(BundleError, match=r"manifest\.json.*mbert-export"):
            open_bundle(path)


@pytest.mark.parametrize("contents", [b"", b"{", b"\xff\xfe", b"{]"])
def test_a_manifest_that_is_no_json_is_refused(copied: Path, contents: bytes) -> None:
    (copied / "manifest.json").write_bytes(contents)
    with pytest.raises(BundleError, match=r"manifest\.json .*JSON"):
        open_bundle(copied)


@pytest.mark.parametrize("raw", [[], "x", 3, None, {}])
def test_a_manifest_that_is_no_manifest_is_refused(copied: Path, raw: object) -> None:
    rewrite(copied, raw)
    with pytest.raises(BundleError, match=r"format_version.*None"):
        open_bundle(copied)


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, None, True])
def test_a_format_that_is_no_number_is_refused(copied: Path, version: object) -> None:
    rewrite(copied, {**manifest_of(copied), "format_version": version})
    with pytest.raises(BundleError, match=f"format_version.*{version!r}"):
        open_bundle(copied)


def test_a_newer_format_is_refused_whatever_it_holds(copied: Path) -> None:
    newer = {"format_version": FORMAT_VERSION + 1, "mbert_version": "9.1", "unheard": "of"}
    rewrite(copied, newer)
    with pytest.raises(BundleError, match=rf"format {FORMAT_VERSION + 1}.*mbert 9\.1"):
        open_bundle(copied)


KEYS = (
    "mbert_version",
    "task",
    "precision",
    "target",
    "backend",
    "operators",
    "model",
    "inputs",
    "outputs",
    "limits",
    "pooling",
    "labels",
    "problem_type",
    "special_tokens",
    "source",
    "engine",
    "calibration",
    "files",
)


PROFILE = {"name": "all", "ranges": {"tokens": [1, 2, 3], "sequences": [1, 1, 1]}}
SWAPPED = {"tokens": [3, 2, 1], "sequences": [1, 1, 1]}
ENGINE = {
    "file": None,
    "compute_capability": "8.9",
    "builder": None,
    "profiles": [PROFILE],
    "activation_bytes": [],
    "tokens_multiple": 64,
    "hardware_compatibility": "none",
    "gpu": None,
}


def test_a_manifest_with_an_engine_is_read(copied: Path) -> None:
    rewrite(copied, {**manifest_of(copied), "engine": ENGINE})
    engine = open_bundle(copied).manifest.engine
    assert engine is not None
    assert engine.profiles[0].ranges == {"tokens": (1, 2, 3), "sequences": (1, 1, 1)}


def test_the_first_format_is_read(copied: Path) -> None:
    """Written before there were engines."""
    raw = {**manifest_of(copied), "format_version": 1}
    del raw["engine"], raw["calibration"]
    rewrite(copied, raw)
    assert open_bundle(copied).manifest.engine is None


@pytest.mark.parametrize("key", KEYS)
def test_a_manifest_that_lacks_an_entry_is_refused(copied: Path, key: str) -> None:
    raw = manifest_of(copied)
    del raw[key]
    rewrite(copied, raw)
    with pytest.raises(BundleError, match=rf"manifest\.json is damaged .*{key}"):
        open_bundle(copied)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("operators", []),
        ("operators", None),
        ("inputs", None),
        ("inputs", [{"name": "input_ids"}]),
        ("outputs", 3),
        ("limits", [1, 2, 3]),
        ("limits", {"max_tokens": 10}),
        ("limits", {"max_tokens": 1, "max_sequence_length": 1, "max_sequences": 1, "more": 1}),
        ("files", ["model.onnx"]),
        ("files", {"model.onnx": {"size": 3}}),
        ("files", {"model.onnx": 3}),
        ("files", None),
        ("labels", 3),
        # These would surface at the first call as errors of Python's own.
        ("limits", {"max_tokens": "x", "max_sequence_length": 8, "max_sequences": 1}),
        ("limits", {"max_tokens": 0, "max_sequence_length": -8, "max_sequences": None}),
        ("model", []),
        ("model", {}),
        ("model", {"vocab_size": "500", "hidden_size": 64}),
        ("outputs", []),
        ("outputs", [{"name": "logits", "dtype": "float32", "shape": ["tokens", 64]}]),
        ("outputs", [{"name": "last_hidden_state", "dtype": "float32", "shape": ["masks", 64]}]),
        ("outputs", [{"name": "last_hidden_state", "dtype": "float32", "shape": []}]),
        ("outputs", [{"name": "last_hidden_state", "dtype": "float32", "shape": ["tokens", "n"]}]),
        ("task", "question-answering"),
        ("reranking", {"activation": "Identity", "prompts": {}}),
        ("reranking", {"activation": "GELU", "prompts": {}, "default_prompt": None}),
        ("reranking", {"activation": "Identity", "prompts": {"a": 1}, "default_prompt": None}),
        ("reranking", {"activation": "Identity", "prompts": {}, "default_prompt": "a"}),
        ("special_tokens", []),
        ("special_tokens", {"mask": "3"}),
        ("engine", {}),
        ("engine", {**ENGINE, "profiles": []}),
        ("engine", {**ENGINE, "profiles": [{"name": "a", "ranges": {"tokens": [1, 2, 3]}}]}),
        ("engine", {**ENGINE, "profiles": [{**PROFILE, "ranges": SWAPPED}]}),
        ("engine", {**ENGINE, "compute_capability": "8"}),
        ("engine", {**ENGINE, "tokens_multiple": 0}),
        ("engine", {**ENGINE, "file": "engines/absent.engine"}),
        ("engine", {**ENGINE, "hardware_compatibility": "all"}),
        ("backend", "openvino"),
        ("precision", "int3"),
        ("task", "translation"),
        ("task", 3),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_a_manifest_with_a_wrong_entry_is_refused(copied: Path, key: str, value: object) -> None:
    rewrite(copied, {**manifest_of(copied), key: value})
    with pytest.raises(BundleError, match=r"manifest\.json"):
        mbert.load(copied)


def test_a_manifest_that_lists_no_model_is_refused(copied: Path) -> None:
    raw = manifest_of(copied)
    del raw["files"]["model.onnx"]
    rewrite(copied, raw)
    with pytest.raises(BundleError, match=r"model\.onnx"):
        open_bundle(copied)


@pytest.mark.parametrize("operators", [{"VarlenAttention": 2}, {"VarlenConvolution": 1}])
def test_operators_of_another_version_are_refused(copied: Path, operators: dict[str, int]) -> None:
    rewrite(copied, {**manifest_of(copied), "operators": operators})
    with pytest.raises(BundleError, match=r"operator \w+ .*version \d"):
        open_bundle(copied)


@pytest.mark.parametrize("entries", [{"target": "l4"}, {"backend": "tensorrt"}])
def test_a_bundle_for_another_target_never_runs_here(copied: Path, entries: dict[str, str]) -> None:
    rewrite(copied, {**manifest_of(copied), **entries})
    with pytest.raises(BackendError, match="--cpu"):
        mbert.load(copied)


def test_a_manifest_survives_writing_and_reading(embed_bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(embed_bundle)
    (tmp_path / "manifest.json").write_text(manifest.to_json())
    assert read_manifest(tmp_path) == manifest


# ---- paths that leave the bundle


@pytest.fixture
def secret(copied: Path) -> Path:
    """A file beside the bundle that holds what would make the bundle work, were it read."""
    return Path(shutil.copy(copied / "model.onnx.data", copied.parent / "secret"))


@pytest.mark.parametrize(
    "name",
    ["../secret", "{parent}/secret", "sub/../../secret", "..", "", ".", "a\0b"],
    ids=repr,
)
def test_a_listed_name_that_leaves_the_bundle_is_refused(
    copied: Path, secret: Path, hashed: list[str], name: str
) -> None:
    (copied / "sub").mkdir()
    raw = manifest_of(copied)
    raw["files"][name.format(parent=copied.parent)] = raw["files"]["model.onnx.data"]
    rewrite(copied, raw)
    with pytest.raises(BundleError):
        open_bundle(copied)
    assert hashed == []


@pytest.mark.parametrize("name", ["model.onnx.data", "model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_link_that_leaves_the_bundle_is_refused(copied: Path, name: str, absolute: bool) -> None:
    outside = copied.parent / "secret"
    shutil.move(copied / name, outside)
    (copied / name).symlink_to(outside if absolute else "../secret")
    with pytest.raises(BundleError, match=f"{name} .*link"):
        mbert.load(copied)


def test_a_link_inside_the_bundle_is_followed(copied: Path) -> None:
    (copied / "model.onnx.data").rename(copied / "weights")
    (copied / "model.onnx.data").symlink_to("weights")
    assert open_bundle(copied).manifest.task == "feature-extraction"


def test_a_folder_linked_to_the_outside_is_refused(copied: Path, secret: Path) -> None:
    (copied / "sub").symlink_to("..")
    raw = manifest_of(copied)
    raw["files"]["sub/secret"] = raw["files"]["model.onnx.data"]
    rewrite(copied, raw)
    with pytest.raises(BundleError, match="link"):
        open_bundle(copied)


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
    """The manifest vouches for this model.onnx: it is the names inside it that leave."""

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
    """The way in which the tests around this one edit a bundle leaves a bundle that works."""
    bundle = edited(embed_bundle, lambda folder: point_data_at(folder, "./model.onnx.data"))
    with mbert.load(bundle) as model:
        assert model.run([[1, 2]])[0].shape == (2, 64)


def test_weights_that_the_manifest_does_not_list_are_never_read(
    embed_bundle: Path, edited: Callable[..., Path]
) -> None:
    """Of an unlisted file neither size nor hash was checked."""

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


def test_a_tokenizer_that_is_none_is_refused(
    embed_bundle: Path, edited: Callable[..., Path]
) -> None:
    bundle = edited(embed_bundle, lambda f: (f / "tokenizer.json").write_text("{}"))
    with pytest.raises(BundleError, match=r"tokenizer\.json .*tokenizer"):
        mbert.load(bundle)


# ---- the stamp


def test_a_second_load_does_not_hash_again(copied: Path, hashed: list[str]) -> None:
    open_bundle(copied)
    assert sorted(hashed) == sorted(manifest_of(copied)["files"])
    hashed.clear()
    open_bundle(copied)
    open_bundle(copied.parent / "bundle" / ".." / "bundle")
    assert hashed == []


def test_a_touched_file_is_hashed_again(copied: Path, hashed: list[str]) -> None:
    open_bundle(copied)
    hashed.clear()
    (copied / "model.onnx.data").touch()
    open_bundle(copied)
    assert "model.onnx.data" in hashed
    hashed.clear()
    open_bundle(copied)
    assert hashed == []


def test_a_change_after_the_stamp_is_found_even_if_the_time_is_put_back(copied: Path) -> None:
    open_bundle(copied)
    path = copied / "model.onnx.data"
    before = path.stat()
    flip(path, 1000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BundleError, match="sha256"):
        open_bundle(copied)


def test_another_file_in_its_place_is_found_after_the_stamp(copied: Path) -> None:
    open_bundle(copied)
    path = copied / "model.onnx.data"
    shutil.copy2(path, copied.parent / "other")
    flip(copied.parent / "other", 1000)
    os.replace(copied.parent / "other", path)
    with pytest.raises(BundleError, match="sha256"):
        open_bundle(copied)


def test_a_copy_is_hashed_for_itself(copied: Path, tmp_path: Path, hashed: list[str]) -> None:
    open_bundle(copied)
    hashed.clear()
    shutil.copytree(copied, tmp_path / "another")
    open_bundle(tmp_path / "another")
    assert "model.onnx.data" in hashed


def test_a_damaged_bundle_gets_no_stamp(copied: Path) -> None:
    flip(copied / "model.onnx.data", 1000)
    for _ in range(2):
        with pytest.raises(BundleError, match="sha256"):
            open_bundle(copied)


def test_nothing_is_written_into_the_bundle(copied: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [copied, *copied.rglob("*")]}
    mbert.load(copied).close()
    assert {path: path.stat().st_mtime_ns for path in [copied, *copied.rglob("*")]} == before


# ---- the cache


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("MBERT_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("MBERT_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "mbert"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / ".cache" / "mbert"


@pytest.mark.parametrize(
    "where",
    ["{}/file/cache", "/dev/null", "/proc/nothing", "{}/" + "x" * 300],
    ids=["below a file", "a device", "proc", "too long a name"],
)
def test_a_cache_that_cannot_be_written_only_means_hashing_again(
    copied: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MBERT_CACHE", where.format(tmp_path))
    for _ in range(2):
        hashed.clear()
        assert open_bundle(copied).manifest.task == "feature-extraction"
        assert "model.onnx.data" in hashed


@pytest.fixture
def unprivileged(embed_bundle: Path) -> Iterator[Path]:
    """A folder that a user without privileges may enter; this process is that user."""
    folder = Path(tempfile.mkdtemp())  # pytest's own are for their owner only
    folder.chmod(0o755)
    shutil.copytree(embed_bundle, folder / "bundle")
    (folder / "home").mkdir(mode=0o000)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        (folder / "home").chmod(0o700)
        shutil.rmtree(folder)


def test_a_home_of_someone_else_only_means_hashing_again(
    unprivileged: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service often runs as a user that may not even look into $HOME."""
    monkeypatch.setenv("MBERT_CACHE", str(unprivileged / "home" / "cache"))
    assert open_bundle(unprivileged / "bundle").manifest.task == "feature-extraction"
    assert "model.onnx.data" in hashed


def test_a_user_without_a_home_only_means_hashing_again(
    copied: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers run under numbers that no user has."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("MBERT_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert open_bundle(copied).manifest.task == "feature-extraction"
    assert "model.onnx.data" in hashed
