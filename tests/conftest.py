"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.checkpoints import make_checkpoint
from support.export_cache import ExportCache
from support.text import add_tokenizer

# A busy machine is no failure.
settings.register_profile("mbert", deadline=None)
settings.load_profile("mbert")

ROOT = Path(__file__).parent.parent
TINY = ROOT / "examples" / "tiny"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MBERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fill-mask checkpoint with test weights; do not change it, copy it."""
    return make_checkpoint(tmp_path_factory.mktemp("small") / "checkpoint")


@pytest.fixture(scope="session")
def text_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a tokenizer."""
    return add_tokenizer(make_checkpoint(tmp_path_factory.mktemp("text") / "checkpoint"))


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportCache]:
    """Return the bundle of a checkpoint; do not change it, copy it."""
    cache = ExportCache(tmp_path_factory.mktemp("exports"))
    yield cache
    cache.check_unchanged()


@pytest.fixture(scope="session")
def tiny_embed_bundle(exports: ExportCache) -> Path:
    """examples/tiny for feature-extraction."""
    return exports(TINY, "feature-extraction")


@pytest.fixture(scope="session")
def tiny_fill_mask_bundle(exports: ExportCache) -> Path:
    """examples/tiny for fill-mask."""
    return exports(TINY, "fill-mask")
