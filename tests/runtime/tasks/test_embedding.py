"""Dense embeddings: pooling, long texts, and iterators over any number of texts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

import mbert
from mbert.errors import InputError
from mbert.runtime.tasks.embedding import Embed
from support.results import Oracle, close
from support.text import CLS, SENTENCES, SEP

LONG = "river " * 3000  # tokens beyond any limit

LONGEST = 20
DOCUMENTS = (
    " ".join(SENTENCES),
    SENTENCES[0],
    "",
    "Reka [SEP] wezbrała 🌊 " * 30,
    " ".join(reversed(SENTENCES)),
)


@pytest.fixture
def short(embed_bundle: Path, edited: Callable[..., Path]) -> Iterator[mbert.Embedder]:
    """A model that takes few tokens."""
    limits = {"max_tokens": 4096, "max_sequence_length": LONGEST, "max_sequences": 256}
    with mbert.Embedder.load(edited(embed_bundle, limits=limits)) as model:
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


# ---- windows


@pytest.mark.parametrize("stride", [0, 1, 7, 17])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_long_text_is_the_weighted_mean_of_its_windows(
    short: mbert.Embedder, text_checkpoint: Path, stride: int, pooling: str
) -> None:
    vectors = np.stack(
        [expected(short, text_checkpoint, text, stride, pooling) for text in DOCUMENTS]
    )
    options: dict[str, Any] = {"overflow": "window", "stride": stride, "pooling": pooling}
    found = short.embed(DOCUMENTS, normalize=False, **options)
    np.testing.assert_allclose(found, vectors, atol=2e-5 * np.abs(vectors).max())
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(short.embed(DOCUMENTS, **options), vectors, atol=1e-5)
    np.testing.assert_allclose(short.embed(DOCUMENTS[0], **options), vectors[0], atol=1e-5)


def test_a_window_shares_an_eighth_unless_told_otherwise(short: mbert.Embedder) -> None:
    room = LONGEST - 2
    np.testing.assert_array_equal(
        short.embed(DOCUMENTS, overflow="window"),
        short.embed(DOCUMENTS, overflow="window", stride=room // 8),
    )


def test_every_window_begins_with_the_prompt(short: mbert.Embedder, text_checkpoint: Path) -> None:
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
    with pytest.raises(InputError, match=r"Text 0 .*special and prompt tokens"):
        short.embed(DOCUMENTS[0], prompt="the river: " * 9, overflow="window")
    with pytest.raises(InputError, match=r"Text 0 .*special and prompt tokens"):
        short.embed([""], prompt="the river: " * 9, overflow="window")


def test_what_fits_is_embedded_as_ever(short: mbert.Embedder, embedder: mbert.Embedder) -> None:
    fitting = [SENTENCES[4], "", "a", ("a", "b")]
    np.testing.assert_array_equal(short.embed(fitting, overflow="window"), embedder.embed(fitting))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overflow": "split"}, "overflow.*split.*error, truncate, window"),
        ({"overflow": "window", "stride": 18}, "stride.*18.*0 to 17"),
        ({"overflow": "window", "stride": -1}, "stride.*-1"),
        ({"overflow": "window", "stride": 2.5}, "stride.*2.5.*integer"),
        ({"overflow": "truncate", "stride": 2}, "stride.*2.*truncate"),
        ({"stride": 0}, "stride.*0.*error"),
    ],
)
def test_wrong_options_are_refused(
    short: mbert.Embedder, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        short.embed(DOCUMENTS, **options)


def test_a_long_pair_is_not_cut_into_windows(short: mbert.Embedder) -> None:
    long = DOCUMENTS[0]
    for pair in ((long, DOCUMENTS[1]), (long, "a"), (long, ""), ("", long)):
        for prompt in ("", "the river: "):
            with pytest.raises(InputError, match=r"Text 1 has \d+ tokens.*pairs"):
                short.embed(["a", pair], prompt=prompt, overflow="window")


def test_windows_weigh_by_their_new_tokens(embedder: mbert.Embedder) -> None:
    decode = Embed(embedder.context, overflow="window").decode
    first, second, third = np.array([[1.0, 2.0], [4.0, 0.0], [0.0, 8.0]], np.float32)
    np.testing.assert_array_equal(decode([(first, 0)]), first)  # no tokens beside special ones
    np.testing.assert_array_equal(decode([(second, 3), (third, 1)]), [3, 2])


# ---- embed_iter


def test_an_iterator_gives_the_same_in_order(embedder: mbert.Embedder) -> None:
    texts = [*SENTENCES, "", "a", *reversed(SENTENCES)] * 2
    expected = embedder.embed(texts, pooling="cls", normalize=False)
    for look_ahead in (1, 5, 1024):
        found = list(
            embedder.embed_iter(iter(texts), look_ahead=look_ahead, pooling="cls", normalize=False)
        )
        assert all(vector.base is None for vector in found)
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    assert list(embedder.embed_iter([])) == []


def test_texts_are_taken_as_vectors_are_due(embedder: mbert.Embedder) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for taken in itertools.count(1):
            yield SENTENCES[taken % len(SENTENCES)]

    vectors = embedder.embed_iter(endless(), look_ahead=8)
    assert taken == 0
    for due, _ in enumerate(itertools.islice(vectors, 40), 1):
        assert due <= taken <= min(2 * due, due + 7)
    assert taken == 47  # blocks of 1, 2, 4 and then 8


def test_an_iterator_cuts_as_well(short: mbert.Embedder) -> None:
    for options in ({"overflow": "window", "stride": 3}, {"overflow": "truncate"}):
        np.testing.assert_allclose(
            list(short.embed_iter(DOCUMENTS, look_ahead=2, **options)),  # type: ignore[arg-type]
            short.embed(DOCUMENTS, **options),  # type: ignore[arg-type]
            atol=1e-5,
        )


def test_a_wrong_text_is_named_by_its_place_in_the_whole(short: mbert.Embedder) -> None:
    long = DOCUMENTS[0]
    for wrong, message in ((long, r"Text 5 has \d+ tokens"), (7, "Text 5 is a int")):
        vectors = short.embed_iter(["a"] * 5 + [wrong], look_ahead=2)  # type: ignore[list-item]
        assert len(list(itertools.islice(vectors, 5))) == 5
        with pytest.raises(InputError, match=message):
            next(vectors)
    with pytest.raises(InputError, match=r"Text 3 has .*pairs"):
        list(short.embed_iter(["a"] * 3 + [(long, long)], look_ahead=2, overflow="window"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": "a"}, "str"),
        ({"texts": ["a"], "look_ahead": 0}, "look_ahead.*0"),
        ({"texts": ["a"], "pooling": "max"}, "pooling.*max"),
        ({"texts": ["a"], "overflow": "x"}, "overflow.*x"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    embedder: mbert.Embedder, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        embedder.embed_iter(**arguments)


# ---- pooling


def test_embed_is_the_pooled_hidden_state(
    embedder: mbert.Embedder, tokenizer: Tokenizer, encoder: Oracle
) -> None:
    hidden = [encoder(tokenizer.encode(text).ids) for text in SENTENCES]
    means = np.stack([states.mean(0) for states in hidden])
    firsts = np.stack([states[0] for states in hidden])
    assert close(embedder.embed(SENTENCES, normalize=False), means)
    assert close(embedder.embed(SENTENCES, normalize=False, pooling="mean"), means)
    assert close(embedder.embed(SENTENCES, normalize=False, pooling="cls"), firsts)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_embeddings_have_length_one(embedder: mbert.Embedder, pooling: str) -> None:
    vectors = embedder.embed(SENTENCES, pooling=pooling)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    plain = embedder.embed(SENTENCES, pooling=pooling, normalize=False)
    assert close(vectors, plain / np.linalg.norm(plain, axis=1, keepdims=True))


def test_one_text_gives_one_vector(embedder: mbert.Embedder) -> None:
    alone = embedder.embed(SENTENCES[0])
    assert alone.shape == (64,)
    listed = embedder.embed([SENTENCES[0]])
    assert listed.shape == (1, 64)
    np.testing.assert_array_equal(listed[0], alone)


def test_no_texts_give_no_rows(embedder: mbert.Embedder) -> None:
    vectors = embedder.embed([])
    assert vectors.shape == (0, 64)
    assert vectors.dtype == np.float32


def test_an_empty_text_is_embedded(embedder: mbert.Embedder, encoder: Oracle) -> None:
    expected = encoder([CLS, SEP]).mean(0)
    assert close(embedder.embed("", normalize=False), expected)
    assert close(embedder.embed([SENTENCES[0], ""], normalize=False)[1], expected)


def test_a_pair_is_embedded_as_a_pair(
    embedder: mbert.Embedder, tokenizer: Tokenizer, encoder: Oracle
) -> None:
    pair = (SENTENCES[0], SENTENCES[1])
    expected = encoder(tokenizer.encode(*pair).ids).mean(0)
    assert close(embedder.embed([pair], normalize=False)[0], expected)


def test_the_bundle_may_leave_the_pooling_open(
    embed_bundle: Path, edited: Callable[..., Path]
) -> None:
    with mbert.load(edited(embed_bundle, pooling=None)) as model:
        with pytest.raises(InputError, match=r"pooling=.*cls, mean"):
            model.embed(SENTENCES)
        assert model.embed(SENTENCES, pooling="cls").shape == (len(SENTENCES), 64)


def test_the_default_pooling_is_the_bundles(
    embed_bundle: Path, edited: Callable[..., Path], embedder: mbert.Embedder
) -> None:
    with mbert.load(edited(embed_bundle, pooling="cls")) as model:
        assert close(model.embed(SENTENCES), embedder.embed(SENTENCES, pooling="cls"))


def test_an_unknown_pooling_is_refused(embedder: mbert.Embedder) -> None:
    with pytest.raises(InputError, match=r"pooling.*max.*cls, mean"):
        embedder.embed(SENTENCES, pooling="max")


def test_too_long_a_text_is_refused_or_cut(
    embedder: mbert.Embedder, tokenizer: Tokenizer, encoder: Oracle
) -> None:
    with pytest.raises(InputError, match=r"Text 1 has \d+ tokens; the limit is 1024"):
        embedder.embed([SENTENCES[0], LONG])
    whole = tokenizer.encode(LONG).ids
    cut = [*whole[:1023], SEP]  # special tokens stay
    assert len(whole) > 1024
    assert close(embedder.embed(LONG, overflow="truncate", normalize=False), encoder(cut).mean(0))
