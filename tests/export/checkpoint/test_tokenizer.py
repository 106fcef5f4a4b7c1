"""The tokenizer of a bundle gives what transformers' AutoTokenizer gives in the checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mbert.errors import CheckpointError
from mbert.export.checkpoint.tokenizer import complete_tokenizer
from mbert.runtime.manifest import Limits
from mbert.runtime.tokenization import Tokenizer
from support.checkpoints import SMALL
from support.text import add_tokenizer

LONGEST = 12
_MASK = {
    "content": "[MASK]",
    "lstrip": False,
    "rstrip": True,
    "normalized": False,
    "single_word": False,
    "special": True,
}
_RIVER = {**_MASK, "content": "[river]", "lstrip": True, "rstrip": False, "special": False}


def _truncating(side: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "tokenizer.json"
        truncation = {"direction": side, "max_length": 5, "strategy": "LongestFirst", "stride": 2}
        path.write_text(json.dumps({**json.loads(path.read_text()), "truncation": truncation}))

    return change


def _config(**entries: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))

    return change


def _beside(name: str, contents: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(json.dumps(contents))

    return change


# What the files beside tokenizer.json may say; the tokenizer has 391 tokens of its own.
FOLDERS: dict[str, tuple[Callable[[Path], None], ...]] = {
    "plain": (),
    "no config": (lambda folder: (folder / "tokenizer_config.json").unlink(),),
    "cut on the left": (_config(truncation_side="left"),),
    "cut on the left by tokenizer.json": (_truncating("Left"),),
    "the config decides": (_truncating("Left"), _config(truncation_side="right")),
    "mask with rstrip": (_config(added_tokens_decoder={"3": _MASK}),),
    "a normalized mask": (_config(added_tokens_decoder={"3": {**_MASK, "normalized": True}}),),
    "added tokens": (_config(added_tokens_decoder={"3": _MASK, "391": _RIVER}),),
    "extra tokens": (_config(extra_special_tokens=["[river]", "bread", "[MASK]"]),),
    "named extra tokens": (_config(extra_special_tokens={"river_token": "[river]"}),),
    "additional tokens": (_config(additional_special_tokens=["[river]"]),),
    "older added tokens": (_beside("added_tokens.json", {"bread": 392, "[river]": 391}),),
    "older added tokens that are there": (
        _beside("added_tokens.json", {"[MASK]": 3, "[river]": 391}),
        _config(extra_special_tokens=["[river]"]),
    ),
    "special tokens map": (_beside("special_tokens_map.json", {"mask_token": _MASK}),),
    "another class": (_config(tokenizer_class="GemmaTokenizerFast", add_bos_token=False),),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    original = add_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    config = transformers.ModernBertConfig()
    config.save_pretrained(original)
    made = {}
    for name, changes in FOLDERS.items():
        folder = Path(shutil.copytree(original, tmp_path_factory.mktemp("folders") / "one"))
        for change in changes:
            change(folder)
        made[name] = folder
    return made


def completed(folder: Path) -> Path:
    """The tokenizer.json that a bundle has."""
    copy = folder / "bundle.json"
    shutil.copy(folder / "tokenizer.json", copy)
    complete_tokenizer(folder, copy, LONGEST)
    return copy


def limits(longest: int) -> Limits:
    return Limits(max_tokens=4096, max_sequence_length=longest, max_sequences=64)


_PIECES = (
    *("[MASK]", "[SEP]", "[CLS]", "[PAD]", "[UNK]", "[river]", "[MASK", "bread", "[mask]"),
    *(" ", "  ", "\n", "\t", "\u00a0", "\u200b", "\u200f", "\x00", "\x1b"),
    *(
        "the river",
        "Rain",
        "é",
        "e\u0301",
        "İ",
        "ﬁ",
        "🌊",
        "👩\u200d👩\u200d👧",
        "שלום",
        "河",
        "'s",
        "…",
    ),
)
WRITTEN = ["the [MASK] of", " [MASK] ", "a[MASK]b", "bread[river] [river]\n"]
TEXTS = st.one_of(
    st.lists(st.sampled_from(_PIECES), max_size=8).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=24),
)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_tokens_are_autotokenizers(folders: dict[str, Path], name: str) -> None:
    folder = folders[name]
    oracle = transformers.AutoTokenizer.from_pretrained(folder)
    file = completed(folder)
    whole = Tokenizer(file, limits(8192), SMALL["vocab_size"])
    cutting = Tokenizer(file, limits(LONGEST), SMALL["vocab_size"])

    @example(WRITTEN, [("", ""), ("a ", "")])
    @settings(max_examples=40, derandomize=True)
    @given(texts=st.lists(TEXTS, min_size=1, max_size=4), pairs=st.lists(st.tuples(TEXTS, TEXTS)))
    def agree(texts: list[str], pairs: list[tuple[str, str]]) -> None:
        lists = [(texts, oracle(texts).input_ids, oracle(texts, **cut).input_ids)]
        if pairs:
            both = [list(side) for side in zip(*pairs, strict=True)]
            lists.append((pairs, oracle(*both).input_ids, oracle(*both, **cut).input_ids))  # type: ignore[arg-type]
        for given_texts, ids, cut_ids in lists:
            assert [array.tolist() for array in whole.encode(given_texts)] == ids
            found = cutting.encode(given_texts, overflow="truncate")
            assert [array.tolist() for array in found] == cut_ids

    cut = {"truncation": True, "max_length": LONGEST}
    agree()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_is_changed_only_where_it_says_less(folders: dict[str, Path], name: str) -> None:
    folder = folders[name]
    same = (folder / "tokenizer.json").read_bytes() == completed(folder).read_bytes()
    unchanged = (
        *("plain", "no config", "cut on the left by tokenizer.json"),
        *("special tokens map", "another class"),
    )
    assert same == (name in unchanged)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"split_special_tokens": True}, "split_special_tokens is True; expected false"),
        ({"truncation_side": "middle"}, "truncation_side is 'middle'; expected 'left' or 'right'"),
        ({"truncation_side": None}, "truncation_side is None"),
        ({"added_tokens_decoder": [1]}, "added_tokens_decoder is not an object"),
        ({"added_tokens_decoder": {"x": _MASK}}, "added_tokens_decoder is not an object"),
        ({"added_tokens_decoder": {"3": "[MASK]"}}, "added_tokens_decoder: '.MASK.' is not a"),
        ({"extra_special_tokens": 5}, "extra_special_tokens is 5; expected a list"),
        ({"extra_special_tokens": [5]}, "extra_special_tokens: 5 is not a token"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    folders: dict[str, Path], tmp_path: Path, entries: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(folders["plain"], tmp_path / "folder"))
    _config(**entries)(folder)
    with pytest.raises(CheckpointError, match=message):
        completed(folder)


def test_older_tokens_need_ids(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["plain"], tmp_path / "folder"))
    _beside("added_tokens.json", {"a": "b"})(folder)
    with pytest.raises(CheckpointError, match=r"added_tokens\.json is not an object of tokens"):
        completed(folder)
