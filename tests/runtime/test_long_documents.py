"""Texts longer than the model takes, and more texts than memory takes."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer

import mbert
from mbert.errors import InputError
from mbert.runtime.windows import Windows, cut
from support.text import SENTENCES

LONGEST = 20
DOCUMENTS = (
    " ".join(SENTENCES),
    SENTENCES[0],
    "",
    "Reka [SEP] wezbrała 🌊 " * 30,
    " ".join(reversed(SENTENCES)),
)


@pytest.fixture
def short(embed_bundle: Path, edited: Callable[..., Path]) -> Iterator[mbert.Model]:
    """A model that takes few tokens."""
    limits = {"max_tokens": 4096, "max_sequence_length": LONGEST, "max_sequences": 256}
    with mbert.load(edited(embed_bundle, limits=limits)) as model:
        yield model


def windows_of(checkpoint: Path, text: str, stride: int) -> list[list[int]]:
    """The windows as the tokenizers library cuts them."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST, stride=stride)
    encoding = tokenizer.encode(text)
    return [part.ids for part in (encoding, *encoding.overflowing)]


def expected(
    model: mbert.Model, checkpoint: Path, text: str, stride: int, pooling: str
) -> NDArray[np.float64]:
    """Mean of the windows' vectors, each weighted by the tokens that no window before it has."""
    total: Any = 0.0
    weights = 0
    for i, ids in enumerate(windows_of(checkpoint, text, stride)):
        hidden = model.run([ids])[0].astype(np.float64)
        weight = len(ids) - 2 - (stride if i else 0)
        total = total + max(weight, 1) * (hidden[0] if pooling == "cls" else hidden.mean(0))
        weights += max(weight, 1)
    vector: NDArray[np.float64] = total / weights
    return vector


# ---- chunk


@pytest.mark.parametrize("stride", [0, 1, 7, 17])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_long_text_is_the_weighted_mean_of_its_windows(
    short: mbert.Model, text_checkpoint: Path, stride: int, pooling: str
) -> None:
    vectors = np.stack(
        [expected(short, text_checkpoint, text, stride, pooling) for text in DOCUMENTS]
    )
    options: dict[str, Any] = {"overflow": "chunk", "stride": stride, "pooling": pooling}
    found = short.embed(DOCUMENTS, normalize=False, **options)
    np.testing.assert_allclose(found, vectors, atol=2e-5 * np.abs(vectors).max())
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(short.embed(DOCUMENTS, **options), vectors, atol=1e-5)
    np.testing.assert_allclose(short.embed(DOCUMENTS[0], **options), vectors[0], atol=1e-5)


def test_a_window_shares_an_eighth_unless_told_otherwise(short: mbert.Model) -> None:
    room = LONGEST - 2
    np.testing.assert_array_equal(
        short.embed(DOCUMENTS, overflow="window"),
        short.embed(DOCUMENTS, overflow="window", stride=room // 8),
    )


def test_every_window_begins_with_the_prompt(short: mbert.Model, text_checkpoint: Path) -> None:
    prompt = "the river: "
    tokenizer = Tokenizer.from_file(str(text_checkpoint / "tokenizer.json"))
    whole = tokenizer.encode(prompt + DOCUMENTS[0])
    repeated = sum(0 < end <= len(prompt) for _, end in whole.offsets)
    own = whole.ids[1 + repeated : -1]
    room = LONGEST - 2 - repeated
    total: Any = 0.0
    for start in range(0, len(own) - 3, room - 3):
        ids = [*whole.ids[: 1 + repeated], *own[start : start + room], whole.ids[-1]]
        new = len(own[start : start + room]) - (3 if start else 0)
        total = total + new * short.run([ids])[0].astype(np.float64).mean(0)
    found = short.embed(
        [SENTENCES[1][:9], DOCUMENTS[0]],
        prompt=prompt,
        overflow="window",
        stride=3,
        normalize=False,
    )
    np.testing.assert_allclose(found[1], total / len(own), atol=2e-5 * np.abs(total).max())
    alone = short.embed(SENTENCES[1][:9], prompt=prompt, normalize=False)
    np.testing.assert_allclose(found[0], alone, atol=2e-5 * np.abs(alone).max())
    with pytest.raises(InputError, match="tokens that every window repeats"):
        short.embed(DOCUMENTS[0], prompt="the river: " * 9, overflow="window")
    with pytest.raises(InputError, match="tokens that every window repeats"):
        short.embed([""], prompt="the river: " * 9, overflow="window")


def test_what_fits_is_embedded_as_ever(short: mbert.Model, embedder: mbert.Model) -> None:
    fitting = [SENTENCES[4], "", "a", ("a", "b")]
    np.testing.assert_array_equal(short.embed(fitting, overflow="window"), embedder.embed(fitting))


def test_truncate_has_two_spellings(short: mbert.Model) -> None:
    np.testing.assert_array_equal(
        short.embed(DOCUMENTS, overflow="truncate"), short.embed(DOCUMENTS, overflow="truncate")
    )
    with pytest.raises(InputError, match=r"Text 0 has \d+ tokens"):
        short.embed(DOCUMENTS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overflow": "split"}, "overflow is 'split'; expected one of error, truncate, chunk"),
        ({"overflow": "chunk", "truncate": True}, "Choose one"),
        ({"overflow": "chunk", "stride": 18}, "stride is 18; expected 0 to 17"),
        ({"overflow": "chunk", "stride": -1}, "stride is -1"),
        ({"overflow": "chunk", "stride": 2.5}, "stride is 2.5; expected an integer"),
        ({"overflow": "truncate", "stride": 2}, "stride is 2 with overflow='truncate'"),
        ({"stride": 0}, "stride is 0 with overflow='error'"),
    ],
)
def test_wrong_options_are_refused(
    short: mbert.Model, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        short.embed(DOCUMENTS, **options)


def test_a_long_pair_is_not_cut_into_windows(short: mbert.Model) -> None:
    long = DOCUMENTS[0]
    for pair in ((long, DOCUMENTS[1]), (long, "a"), (long, ""), ("", long)):
        for prompt in ("", "the river: "):
            with pytest.raises(InputError, match=r"Text 1 has \d+ tokens.* a pair is not cut"):
                short.embed(["a", pair], prompt=prompt, overflow="window")


@given(
    length=st.integers(0, 60),
    longest=st.integers(4, 30),
    stride=st.integers(0, 40),
    special=st.tuples(st.integers(0, 2), st.integers(0, 1)),
)
def test_windows_hold_every_token_in_order(
    length: int, longest: int, stride: int, special: tuple[int, int]
) -> None:
    before, after = special
    ids = np.arange(before + length + after, dtype=np.int32)
    own = np.zeros(ids.size, bool)
    own[before : before + length] = True
    room = longest - before - after
    if ids.size > longest and stride >= room:
        with pytest.raises(InputError, match="stride"):
            cut(ids, own, longest, stride, "Text 0")
        return
    windows = cut(ids, own, longest, stride, "Text 0")
    collected: list[int] = []
    for window, new in windows:
        assert window.size <= longest
        assert window[:before].tolist() == ids[:before].tolist()
        assert window[window.size - after :].tolist() == ids[ids.size - after :].tolist()
        inside = window[before : window.size - after].tolist()
        # What is not new is the end of what came before.
        shared = len(inside) - new
        assert inside[:shared] == collected[len(collected) - shared :]
        assert shared == (stride if collected else 0)
        collected += inside[shared:]
    assert collected == ids[own].tolist()
    assert all(new > 0 for _, new in windows) or length == 0


def test_a_text_without_tokens_of_its_own_weighs_nothing_down() -> None:
    ids = np.zeros(2, np.int32)
    windows = Windows.of([[(ids, 0)], [(ids, 3), (ids, 1)]])
    vectors = np.array([[1.0, 2.0], [4.0, 0.0], [0.0, 8.0]], np.float32)
    np.testing.assert_array_equal(windows.merged(vectors), [[1, 2], [3, 2]])


# ---- embed_iter


def test_an_iterator_gives_the_same_in_order(embedder: mbert.Model) -> None:
    texts = [*SENTENCES, "", "a", *reversed(SENTENCES)] * 2
    expected = embedder.embed(texts, pooling="cls", normalize=False)
    for look_ahead in (1, 5, 1024):
        found = list(
            embedder.embed_iter(iter(texts), look_ahead=look_ahead, pooling="cls", normalize=False)
        )
        assert all(vector.base is None for vector in found)
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    assert list(embedder.embed_iter([])) == []


def test_texts_are_taken_as_vectors_are_due(embedder: mbert.Model) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for taken in itertools.count(1):
            yield SENTENCES[taken % len(SENTENCES)]

    vectors = embedder.embed_iter(endless(), look_ahead=8)
    assert taken == 0
    for given_back, _ in enumerate(itertools.islice(vectors, 40), 1):
        assert given_back <= taken <= given_back + 7
    assert taken == 40


def test_an_iterator_cuts_as_well(short: mbert.Model) -> None:
    for options in ({"overflow": "chunk", "stride": 3}, {"truncate": True}):
        np.testing.assert_allclose(
            list(short.embed_iter(DOCUMENTS, look_ahead=2, **options)),  # type: ignore[arg-type]
            short.embed(DOCUMENTS, **options),  # type: ignore[arg-type]
            atol=1e-5,
        )


def test_a_wrong_text_is_named_by_its_place_in_the_whole(short: mbert.Model) -> None:
    long = DOCUMENTS[0]
    for wrong, message in ((long, r"Text 5 has \d+ tokens"), (7, "Text 5 is a int")):
        vectors = short.embed_iter(["a"] * 5 + [wrong], look_ahead=2)  # type: ignore[list-item]
        assert len(list(itertools.islice(vectors, 4))) == 4
        with pytest.raises(InputError, match=message):
            next(vectors)
    with pytest.raises(InputError, match=r"Text 3 has .* a pair"):
        list(short.embed_iter(["a"] * 3 + [(long, long)], look_ahead=2, overflow="window"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": "a"}, "for a single one there is embed"),
        ({"texts": ["a"], "look_ahead": 0}, "look_ahead is 0; expected at least 1"),
        ({"texts": ["a"], "pooling": "max"}, "pooling is 'max'"),
        ({"texts": ["a"], "overflow": "x"}, "overflow is 'x'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    embedder: mbert.Model, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        embedder.embed_iter(**arguments)


def test_an_iterator_needs_its_task(masker: mbert.Model) -> None:
    with pytest.raises(
        InputError, match="embed_iter needs a feature-extraction or sentence-similarity bundle"
    ):
        masker.embed_iter(["a"])


# ---- progress


class _Terminal:
    """Standard error that says it is a terminal."""

    def __init__(self) -> None:
        self.written = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_is_shown_on_a_terminal(
    embedder: mbert.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for call in (
        lambda: embedder.embed(SENTENCES, progress=True),
        lambda: list(embedder.embed_iter(SENTENCES, progress=True)),
        lambda: list(embedder.embed_iter(iter(SENTENCES), progress=True)),
        lambda: embedder.embed(SENTENCES),
    ):
        terminal = _Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        call()
        shown.append(terminal.written)
    assert "100%" in shown[0]
    assert "100%" in shown[1]
    assert "6" in shown[2]
    assert shown[3] == ""


def test_no_bar_is_written_into_a_file(
    embedder: mbert.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    embedder.embed(SENTENCES, progress=True)
    assert capsys.readouterr().err == ""


def test_no_bar_is_written_where_there_is_no_console(
    embedder: mbert.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = embedder.embed(SENTENCES)
    monkeypatch.setattr(sys, "stderr", None)
    np.testing.assert_array_equal(embedder.embed(SENTENCES, progress=True), expected)
