"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

import mbert
from support.checkpoints import make_checkpoint

# A busy machine is no failure.
settings.register_profile("mbert", deadline=None)
settings.load_profile("mbert")

ROOT = Path(__file__).parent.parent
TINY = ROOT / "examples" / "tiny"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Keep the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MBERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fill-mask checkpoint with test weights; do not change it, copy it."""
    return make_checkpoint(tmp_path_factory.mktemp("small") / "checkpoint")


@pytest.fixture(scope="session")
def tiny_embed_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/tiny for feature-extraction; do not change it, copy it."""
    bundle = tmp_path_factory.mktemp("tiny") / "embed"
    mbert.convert(TINY, bundle, task="feature-extraction")
    return bundle


@pytest.fixture(scope="session")
def tiny_fill_mask_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/tiny for fill-mask; do not change it, copy it."""
    bundle = tmp_path_factory.mktemp("tiny") / "fill-mask"
    mbert.convert(TINY, bundle, task="fill-mask")
    return bundle
