"""Opening bundles: their files, links and hashes are checked before anything is used."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import mbert
from mbert.errors import BundleError
from mbert.runtime import bundle as bundle_module
from mbert.runtime.bundle import open_bundle
from mbert.runtime.cache import cache_folder
from support.bundles import flip, manifest_of, rewrite


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("MBERT_CACHE", str(cache))
    return cache


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
