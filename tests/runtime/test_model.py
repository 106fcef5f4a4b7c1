"""A loaded bundle: every method, what it gives, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer

import mbert
from mbert.errors import BackendError, BundleError, InputError
from mbert.runtime import runner as runner_module
from support.checkpoints import load_oracle
from support.text import CLS, MASK, SENTENCES, SEP

# Lengths around every boundary, out of order, and in more than one batch.
LENGTHS = (5, 1, 700, 64, 65, 2, 128, 1024, 33, 1024, 17, 1024, 16, 1024, 129)

LONG = "river " * 3000  # tokens beyond any limit


def sequences_of(lengths: tuple[int, ...], seed: int = 0) -> list[NDArray[np.int32]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(5, 500, length, dtype=np.int32) for length in lengths]


def close(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Equal but for float rounding: 2e-5 of the largest value."""
    assert found.shape == expected.shape
    largest = np.abs(expected).max(initial=0.0)
    return bool(np.abs(found - expected).max(initial=0.0) <= 2e-5 * largest)


@pytest.fixture(scope="module")
def tokenizer(text_checkpoint: Path) -> Tokenizer:
    return Tokenizer.from_file(str(text_checkpoint / "tokenizer.json"))


@pytest.fixture(scope="module")
def encoder(text_checkpoint: Path) -> Callable[[Any], NDArray[np.float32]]:
    """transformers' hidden states of one sequence of ids."""
    return _first_output(load_oracle(text_checkpoint, "feature-extraction"))


@pytest.fixture(scope="module")
def labeller(label_checkpoint: Path) -> Callable[[Any], NDArray[np.float32]]:
    """transformers' logits of one sequence of ids."""
    return _first_output(load_oracle(label_checkpoint, "text-classification"))


def _first_output(oracle: Any) -> Callable[[Any], NDArray[np.float32]]:
    @torch.no_grad()
    def compute(ids: Any) -> NDArray[np.float32]:
        return np.asarray(oracle(torch.as_tensor(np.array(ids))[None].long())[0][0])

    return compute


# ---- run and run_packed


def test_results_come_in_the_order_of_the_input(
    embedder: mbert.Model, encoder: Callable[[Any], NDArray[np.float32]]
) -> None:
    sequences = sequences_of(LENGTHS)
    results = embedder.run(sequences)
    assert [result.shape for result in results] == [(length, 64) for length in LENGTHS]
    for ids, result in zip(sequences, results, strict=True):
        assert result.dtype == np.float32
        assert close(result, encoder(ids))


def test_run_and_run_packed_agree(embedder: mbert.Model) -> None:
    sequences = sequences_of((5, 70, 1, 33))
    offsets = np.cumsum([0, 5, 70, 1, 33])
    packed = embedder.run_packed(np.concatenate(sequences), offsets)
    assert packed.shape == (109, 64)
    for result, begin, end in zip(embedder.run(sequences), offsets[:-1], offsets[1:], strict=True):
        assert close(packed[begin:end], result)


def test_slack_and_empty_sequences_change_no_other_result(embedder: mbert.Model) -> None:
    first, second = sequences_of((20, 30))
    plain = embedder.run_packed([*first, *second], [0, 20, 50])
    loose = embedder.run_packed([*first, *second, *first[:7]], [0, 0, 20, 20, 50, 50])
    assert loose.shape == (57, 64)
    assert close(loose[:50], plain)


@pytest.mark.parametrize(("ids", "offsets"), [([], [0]), ([], [0, 0]), ([7, 8], [0])])
def test_a_call_of_no_sequences_gives_no_rows(
    embedder: mbert.Model, classifier: mbert.Model, ids: list[int], offsets: list[int]
) -> None:
    assert embedder.run_packed(ids, offsets).shape == (len(ids), 64)
    logits = classifier.run_packed(ids, offsets)
    assert logits.shape == (len(offsets) - 1, 3)
    assert np.isfinite(logits).all()


def test_run_of_nothing_gives_nothing(
    embedder: mbert.Model, masker: mbert.Model, classifier: mbert.Model
) -> None:
    assert embedder.run([]) == masker.run([]) == classifier.run([]) == []


def test_run_gives_the_logits_of_the_masks(masker: mbert.Model) -> None:
    sequences = [[CLS, 9, MASK, 11, SEP], [CLS, 9, SEP], [MASK], [CLS, MASK, 8, MASK, MASK, SEP]]
    results = masker.run(sequences)
    assert [result.shape for result in results] == [(1, 500), (0, 500), (1, 500), (3, 500)]
    ids = [token for sequence in sequences for token in sequence]
    offsets = np.cumsum([0, *map(len, sequences)])
    packed = masker.run_packed(ids, offsets)
    assert close(packed, np.concatenate(results))
    rows = [i for i, token in enumerate(ids) if token == MASK]
    assert close(masker.run_packed(ids, offsets, mask_positions=rows), packed)
    assert masker.run_packed(ids, offsets, mask_positions=[]).shape == (0, 500)


def test_any_row_may_be_asked_for(masker: mbert.Model, text_checkpoint: Path) -> None:
    oracle = _first_output(load_oracle(text_checkpoint, "fill-mask"))
    ids = sequences_of((40,))[0]
    rows = [39, 0, 17, 17]
    assert close(masker.run_packed(ids, [0, 40], mask_positions=rows), oracle(ids)[rows])


def test_run_gives_the_logits_of_each_sequence(
    classifier: mbert.Model, labeller: Callable[[Any], NDArray[np.float32]]
) -> None:
    sequences = sequences_of((9, 1, 200, 64))
    results = classifier.run(sequences)
    assert [result.shape for result in results] == [(3,)] * 4
    for ids, result in zip(sequences, results, strict=True):
        assert close(result, labeller(ids))


def test_results_do_not_share_memory(embedder: mbert.Model) -> None:
    first, second = embedder.run(sequences_of((3, 4)))
    assert first.base is None
    assert not np.shares_memory(first, second)
    first[:] = 0
    assert second.any()


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    alone=st.integers(0, 11),
    seed=st.integers(0, 5),
)
def test_a_result_does_not_depend_on_its_batch(
    embedder: mbert.Model, lengths: list[int], alone: int, seed: int
) -> None:
    sequences = sequences_of(tuple(lengths), seed)
    i = alone % len(sequences)
    assert close(embedder.run(sequences)[i], embedder.run([sequences[i]])[0])


# ---- embed


def test_embed_is_the_pooled_hidden_state(
    embedder: mbert.Model, tokenizer: Tokenizer, encoder: Callable[[Any], NDArray[np.float32]]
) -> None:
    hidden = [encoder(tokenizer.encode(text).ids) for text in SENTENCES]
    means = np.stack([states.mean(0) for states in hidden])
    firsts = np.stack([states[0] for states in hidden])
    assert close(embedder.embed(SENTENCES, normalize=False), means)
    assert close(embedder.embed(SENTENCES, normalize=False, pooling="mean"), means)
    assert close(embedder.embed(SENTENCES, normalize=False, pooling="cls"), firsts)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_embeddings_have_length_one(embedder: mbert.Model, pooling: str) -> None:
    vectors = embedder.embed(SENTENCES, pooling=pooling)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    plain = embedder.embed(SENTENCES, pooling=pooling, normalize=False)
    assert close(vectors, plain / np.linalg.norm(plain, axis=1, keepdims=True))


def test_one_text_gives_one_vector(embedder: mbert.Model) -> None:
    alone = embedder.embed(SENTENCES[0])
    assert alone.shape == (64,)
    listed = embedder.embed([SENTENCES[0]])
    assert listed.shape == (1, 64)
    np.testing.assert_array_equal(listed[0], alone)


def test_no_texts_give_no_rows(embedder: mbert.Model) -> None:
    vectors = embedder.embed([])
    assert vectors.shape == (0, 64)
    assert vectors.dtype == np.float32


def test_an_empty_text_is_embedded(
    embedder: mbert.Model, encoder: Callable[[Any], NDArray[np.float32]]
) -> None:
    expected = encoder([CLS, SEP]).mean(0)
    assert close(embedder.embed("", normalize=False), expected)
    assert close(embedder.embed([SENTENCES[0], ""], normalize=False)[1], expected)


def test_a_pair_is_embedded_as_a_pair(
    embedder: mbert.Model, tokenizer: Tokenizer, encoder: Callable[[Any], NDArray[np.float32]]
) -> None:
    pair = (SENTENCES[0], SENTENCES[1])
    expected = encoder(tokenizer.encode(*pair).ids).mean(0)
    assert close(embedder.embed([pair], normalize=False)[0], expected)


def test_the_bundle_may_leave_the_pooling_open(
    embed_bundle: Path, edited: Callable[..., Path]
) -> None:
    with mbert.load(edited(embed_bundle, pooling=None)) as model:
        with pytest.raises(InputError, match="Pass pooling= one of cls, mean"):
            model.embed(SENTENCES)
        assert model.embed(SENTENCES, pooling="cls").shape == (len(SENTENCES), 64)


def test_the_default_pooling_is_the_bundles(
    embed_bundle: Path, edited: Callable[..., Path], embedder: mbert.Model
) -> None:
    with mbert.load(edited(embed_bundle, pooling="cls")) as model:
        assert close(model.embed(SENTENCES), embedder.embed(SENTENCES, pooling="cls"))


def test_an_unknown_pooling_is_refused(embedder: mbert.Model) -> None:
    with pytest.raises(InputError, match="pooling is 'max'; expected one of cls, mean"):
        embedder.embed(SENTENCES, pooling="max")


# ---- texts that are refused or cut


def test_too_long_a_text_is_refused_or_cut(
    embedder: mbert.Model, tokenizer: Tokenizer, encoder: Callable[[Any], NDArray[np.float32]]
) -> None:
    with pytest.raises(InputError, match=r"Text 1 has \d+ tokens; the bundle takes up to 1024"):
        embedder.embed([SENTENCES[0], LONG])
    whole = tokenizer.encode(LONG).ids
    cut = [*whole[:1023], SEP]  # special tokens stay
    assert len(whole) > 1024
    assert close(embedder.embed(LONG, overflow="truncate", normalize=False), encoder(cut).mean(0))


def test_what_a_tokenizer_saved_about_length_and_padding_is_not_applied(
    embed_bundle: Path, edited: Callable[..., Path], embedder: mbert.Model
) -> None:
    def change(folder: Path) -> None:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(4)
        tokenizer.enable_padding(length=50)
        tokenizer.save(str(folder / "tokenizer.json"))

    with mbert.load(edited(embed_bundle, change)) as model:
        for truncate in (False, True):
            found = model.embed(SENTENCES, truncate=truncate)
            assert close(found, embedder.embed(SENTENCES))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([1], "Text 0 is a int; expected a string or a pair of strings"),
        (["a", None], "Text 1 is a NoneType"),
        ([["a", "b"]], "Text 0 is a list"),
        ([("a", "b", "c")], "Text 0 is a tuple"),
        ([("a", 1)], "Text 0 is a tuple"),
        ([b"a"], "Text 0 is a bytes"),
        (["a", "lone \ud800 surrogate"], "Text 1"),
    ],
    ids=["number", "none", "list", "three texts", "no pair of texts", "bytes", "surrogate"],
)
def test_what_is_no_text_is_refused(
    embedder: mbert.Model,
    masker: mbert.Model,
    classifier: mbert.Model,
    texts: Any,
    message: str,
) -> None:
    for method in (embedder.embed, masker.fill_mask, classifier.classify):
        with pytest.raises(InputError, match=message):
            method(texts)


# ---- fill_mask


def test_masks_get_the_most_probable_tokens(
    masker: mbert.Model, text_checkpoint: Path, tokenizer: Tokenizer
) -> None:
    text = "The [MASK] rose in the [MASK] and took the bridge."
    ids = tokenizer.encode(text).ids
    oracle = load_oracle(text_checkpoint, "fill-mask")
    with torch.no_grad():
        logits = oracle(torch.tensor([ids])).logits[0].double()
    expected = logits.softmax(-1)[[i for i, token in enumerate(ids) if token == MASK]]
    found = masker.fill_mask(text, top_k=7)
    assert len(found) == 2
    for candidates, probabilities in zip(found, expected, strict=True):
        best = probabilities.topk(7)
        assert [candidate.token_id for candidate in candidates] == best.indices.tolist()
        scores = [candidate.score for candidate in candidates]
        assert scores == pytest.approx(best.values.tolist(), rel=1e-4)
        for candidate in candidates:
            shown = tokenizer.decode([candidate.token_id], skip_special_tokens=False)
            assert candidate.token == shown


def test_one_text_gives_its_masks_and_several_a_list(masker: mbert.Model) -> None:
    one, two = "Bread is made of [MASK].", "The [MASK] and the [MASK] of [MASK]."
    results = masker.fill_mask([two, one])
    assert [[len(candidates) for candidates in masks] for masks in results] == [[5, 5, 5], [5]]
    alone = masker.fill_mask(one)
    assert [c.token_id for c in alone[0]] == [c.token_id for c in results[1][0]]
    assert masker.fill_mask([]) == []


def test_top_k_is_at_most_the_vocabulary(masker: mbert.Model) -> None:
    text = "[MASK]"
    assert [len(candidates) for candidates in masker.fill_mask(text, top_k=1)] == [1]
    whole = masker.fill_mask(text, top_k=10_000)[0]
    assert sorted(candidate.token_id for candidate in whole) == list(range(500))
    assert sum(candidate.score for candidate in whole) == pytest.approx(1)
    scores = [candidate.score for candidate in whole]
    assert scores == sorted(scores, reverse=True)
    for wrong in (0, -3):
        with pytest.raises(InputError, match=f"top_k is {wrong}; expected at least 1"):
            masker.fill_mask(text, top_k=wrong)


def test_a_text_without_a_mask_is_refused(masker: mbert.Model) -> None:
    with pytest.raises(InputError, match=r"Text 1 has no mask token\. Write \[MASK\]"):
        masker.fill_mask(["a [MASK]", "no mask"])
    with pytest.raises(InputError, match="Text 0 has no mask token"):
        masker.fill_mask("")


def test_a_mask_that_was_cut_off_is_missed(masker: mbert.Model) -> None:
    with pytest.raises(InputError, match=r"Text 0 has \d+ tokens"):
        masker.fill_mask(f"{LONG} [MASK]")
    with pytest.raises(InputError, match="Text 0 has no mask token"):
        masker.fill_mask(f"{LONG} [MASK]", overflow="truncate")
    assert len(masker.fill_mask(f"[MASK] {LONG}", overflow="truncate")) == 1


def test_a_tokenizer_without_a_mask_needs_positions(
    fill_mask_bundle: Path, edited: Callable[..., Path]
) -> None:
    with mbert.load(edited(fill_mask_bundle, special_tokens={"cls": CLS})) as model:
        for call in (
            lambda: model.fill_mask("a [MASK]"),
            lambda: model.run([[CLS, MASK, SEP]]),
            lambda: model.run_packed([CLS, MASK, SEP], [0, 3]),
        ):
            with pytest.raises(BundleError, match="knows no mask token"):
                call()
        assert model.run_packed([CLS, MASK], [0, 2], mask_positions=[1]).shape == (1, 500)


# ---- classify


def test_labels_come_with_softmax_scores_best_first(
    classifier: mbert.Model, tokenizer: Tokenizer, labeller: Callable[[Any], NDArray[np.float32]]
) -> None:
    pairs = [(SENTENCES[0], SENTENCES[1]), (SENTENCES[2], "")]
    inputs = [*SENTENCES, *pairs]
    encodings = [
        tokenizer.encode(*text) if isinstance(text, tuple) else tokenizer.encode(text)
        for text in inputs
    ]
    for encoding, found in zip(encodings, classifier.classify(inputs), strict=True):
        logits = labeller(encoding.ids).astype(np.float64)
        scores = np.exp(logits) / np.exp(logits).sum()
        order = np.argsort(-scores)
        names = np.array(["good", "bad", "neither"])
        assert [entry.label for entry in found] == names[order].tolist()
        assert [entry.score for entry in found] == pytest.approx(scores[order].tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("problem_type", "score"),
    [
        ("multi_label_classification", lambda x: 1 / (1 + np.exp(-x))),
        ("regression", lambda x: x),
        ("single_label_classification", lambda x: np.exp(x) / np.exp(x).sum()),
    ],
)
def test_scores_follow_the_problem_type(
    classify_bundle: Path,
    edited: Callable[..., Path],
    tokenizer: Tokenizer,
    labeller: Callable[[Any], NDArray[np.float32]],
    problem_type: str,
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    logits = labeller(tokenizer.encode(SENTENCES[3]).ids).astype(np.float64)
    expected = dict(zip(["good", "bad", "neither"], score(logits), strict=True))
    with mbert.load(edited(classify_bundle, problem_type=problem_type)) as model:
        found = {entry.label: entry.score for entry in model.classify(SENTENCES[3])}
    assert found == pytest.approx(expected, abs=1e-5)


def test_one_text_gives_its_labels_and_several_a_list(classifier: mbert.Model) -> None:
    alone = classifier.classify(SENTENCES[0])
    assert len(alone) == 3
    listed = classifier.classify([SENTENCES[0]])
    assert [[entry.label for entry in labels] for labels in listed] == [
        [entry.label for entry in alone]
    ]
    assert classifier.classify([]) == []


def test_top_k_labels(classifier: mbert.Model) -> None:
    whole = classifier.classify(SENTENCES[0])
    assert classifier.classify(SENTENCES[0], top_k=1) == whole[:1]
    assert classifier.classify(SENTENCES[0], top_k=99) == whole
    with pytest.raises(InputError, match="top_k is 0; expected at least 1, or None"):
        classifier.classify(SENTENCES[0], top_k=0)


def test_too_long_a_pair_is_cut_on_both_sides(classifier: mbert.Model) -> None:
    with pytest.raises(InputError, match=r"Text 0 has \d+ tokens"):
        classifier.classify([(LONG, LONG)])
    assert len(classifier.classify([(LONG, LONG)], overflow="truncate")[0]) == 3


# ---- the wrong method


def test_a_method_needs_its_task(
    embedder: mbert.Model, masker: mbert.Model, classifier: mbert.Model
) -> None:
    for model, method, task in (
        (masker, "embed", "feature-extraction"),
        (classifier, "embed", "feature-extraction"),
        (embedder, "fill_mask", "fill-mask"),
        (classifier, "fill_mask", "fill-mask"),
        (embedder, "classify", "text-classification"),
        (masker, "classify", "text-classification"),
    ):
        message = f"{method} needs a {task}.* bundle; .* is {model.info.task}.*--task {task}"
        with pytest.raises(InputError, match=message):
            getattr(model, method)("a text")


def test_a_bundle_without_a_tokenizer_takes_ids(
    embed_bundle: Path, edited: Callable[..., Path], embedder: mbert.Model
) -> None:
    bundle = edited(embed_bundle, lambda folder: (folder / "tokenizer.json").unlink())
    with mbert.load(bundle) as model:
        with pytest.raises(BundleError, match=r"has no tokenizer\.json.*Pass token ids to run"):
            model.embed("a text")
        assert close(model.run([[1, 9, 2]])[0], embedder.run([[1, 9, 2]])[0])


# ---- opening and closing


def test_info_is_the_manifest(embedder: mbert.Model) -> None:
    assert embedder.info.task == "feature-extraction"
    assert embedder.info.limits.max_sequence_length == 1024
    assert embedder.info.special_tokens["mask"] == MASK


def test_a_closed_model_refuses_to_run(embed_bundle: Path) -> None:
    with mbert.load(embed_bundle) as model:
        assert model.run([[1, 2]])[0].shape == (2, 64)
    for call in (
        lambda: model.run([[1, 2]]),
        lambda: model.run_packed([1, 2], [0, 2]),
        lambda: model.embed("a text"),
        lambda: model.warm_up(),
    ):
        with pytest.raises(BackendError, match="has been closed"):
            call()
    model.close()  # again, and nothing happens
    assert model.info.task == "feature-extraction"


def test_a_model_closes_when_its_block_fails(embed_bundle: Path) -> None:
    with pytest.raises(RuntimeError, match="of the caller"), mbert.load(embed_bundle) as model:
        raise RuntimeError("of the caller")
    with pytest.raises(BackendError, match="has been closed"):
        model.run([[1]])


def test_warm_up_changes_nothing(
    embedder: mbert.Model, masker: mbert.Model, classifier: mbert.Model
) -> None:
    before = embedder.run([[1, 9, 2]])[0]
    for model in (embedder, masker, classifier):
        model.warm_up()
    np.testing.assert_array_equal(embedder.run([[1, 9, 2]])[0], before)


@pytest.mark.parametrize("kernels", [True, False])
def test_every_way_of_running_agrees(
    embed_bundle: Path, embedder: mbert.Model, kernels: bool
) -> None:
    sequences = sequences_of((5, 130, 1, 64))
    expected = embedder.run(sequences)
    for threads in (1, 2):
        with mbert.load(embed_bundle, threads=threads, kernels=kernels) as model:
            for found, right in zip(model.run(sequences), expected, strict=True):
                assert close(found, right)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"threads": 0}, InputError, "threads is 0; expected at least 1, or None"),
        ({"threads": -2}, InputError, "threads is -2"),
        ({"device": "cuda"}, BackendError, "device is 'cuda'; .* runs on 'cpu'"),
    ],
)
def test_wrong_arguments_are_refused(
    embed_bundle: Path, arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        mbert.load(embed_bundle, **arguments)


def test_the_device_may_be_named(embed_bundle: Path) -> None:
    with mbert.load(embed_bundle, device="cpu") as model:
        assert model.run([[1]])[0].shape == (1, 64)


@pytest.mark.parametrize(
    ("library", "message"),
    [("absent.so", "which is not a file"), ("text.so", "refuses the operator library")],
)
def test_an_operator_library_that_cannot_be_used_is_refused(
    embed_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, message: str
) -> None:
    (tmp_path / "text.so").write_text("no library")
    monkeypatch.setenv("MBERT_ONNXRUNTIME_LIBRARY", str(tmp_path / library))
    with pytest.raises(BackendError, match=message):
        mbert.load(embed_bundle)
    with mbert.load(embed_bundle, kernels=False) as model:  # needs no library
        assert model.run([[1]])[0].shape == (1, 64)


# ---- several threads


def test_concurrent_calls_give_the_same_results(embedder: mbert.Model) -> None:
    jobs = [sequences_of((5, 130, 1, 64), seed) for seed in range(4)]
    expected = [embedder.run(job) for job in jobs]
    start = threading.Barrier(4)

    def work(job: list[NDArray[np.int32]]) -> list[list[NDArray[Any]]]:
        start.wait()
        return [embedder.run(job) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for rounds, right in zip(pool.map(work, jobs), expected, strict=True):
            for results in rounds:
                for found, one in zip(results, right, strict=True):
                    np.testing.assert_array_equal(found, one)


def test_concurrent_texts_give_the_same_embeddings(embedder: mbert.Model) -> None:
    expected = embedder.embed(SENTENCES)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: embedder.embed(SENTENCES), range(8)):
            np.testing.assert_array_equal(found, expected)


def test_more_texts_than_fit_into_a_batch(
    embedder: mbert.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = embedder.embed(SENTENCES)
    monkeypatch.setattr(runner_module, "BATCH_TOKENS", 30)
    assert close(embedder.embed(SENTENCES), expected)


def test_a_tuple_of_two_strings_is_ambiguous(classifier: mbert.Model) -> None:
    with pytest.raises(InputError, match=r"pair or two texts\. Pass a list"):
        classifier.classify(("a", "b"))
