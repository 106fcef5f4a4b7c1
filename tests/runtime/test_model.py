"""A loaded bundle: what every task has."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer

import mbert
from mbert.errors import BackendError, BundleError, InputError
from support.results import Oracle, close, first_output, sequences_of
from support.text import CLS, MASK, SENTENCES, SEP

# Lengths around every boundary, out of order, and in more than one batch.
LENGTHS = (5, 1, 700, 64, 65, 2, 128, 1024, 33, 1024, 17, 1024, 16, 1024, 129)


def test_results_come_in_the_order_of_the_input(embedder: mbert.Embedder, encoder: Oracle) -> None:
    sequences = sequences_of(LENGTHS)
    results = embedder.run(sequences)
    assert [result.shape for result in results] == [(length, 64) for length in LENGTHS]
    for ids, result in zip(sequences, results, strict=True):
        assert result.dtype == np.float32
        assert close(result, encoder(ids))


def test_run_and_run_packed_agree(embedder: mbert.Embedder) -> None:
    sequences = sequences_of((5, 70, 1, 33))
    offsets = np.cumsum([0, 5, 70, 1, 33])
    packed = embedder.run_packed(np.concatenate(sequences), offsets)
    assert packed.shape == (109, 64)
    for result, begin, end in zip(embedder.run(sequences), offsets[:-1], offsets[1:], strict=True):
        assert close(packed[begin:end], result)


def test_slack_and_empty_sequences_change_no_other_result(embedder: mbert.Embedder) -> None:
    first, second = sequences_of((20, 30))
    plain = embedder.run_packed([*first, *second], [0, 20, 50])
    loose = embedder.run_packed([*first, *second, *first[:7]], [0, 0, 20, 20, 50, 50])
    assert loose.shape == (57, 64)
    assert close(loose[:50], plain)


@pytest.mark.parametrize(("ids", "offsets"), [([], [0]), ([], [0, 0]), ([7, 8], [0])])
def test_a_call_of_no_sequences_gives_no_rows(
    embedder: mbert.Embedder, classifier: mbert.Classifier, ids: list[int], offsets: list[int]
) -> None:
    assert embedder.run_packed(ids, offsets).shape == (len(ids), 64)
    logits = classifier.run_packed(ids, offsets)
    assert logits.shape == (len(offsets) - 1, 3)
    assert np.isfinite(logits).all()


def test_run_of_nothing_gives_nothing(
    embedder: mbert.Embedder, masker: mbert.MaskFiller, classifier: mbert.Classifier
) -> None:
    assert embedder.run([]) == masker.run([]) == classifier.run([]) == []


def test_run_gives_the_logits_of_the_masks(masker: mbert.MaskFiller) -> None:
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


def test_any_row_may_be_asked_for(masker: mbert.MaskFiller, text_checkpoint: Path) -> None:
    oracle = first_output(text_checkpoint, "fill-mask")
    ids = sequences_of((40,))[0]
    rows = [39, 0, 17, 17]
    assert close(masker.run_packed(ids, [0, 40], mask_positions=rows), oracle(ids)[rows])


def test_run_gives_the_logits_of_each_sequence(
    classifier: mbert.Classifier, labeller: Oracle
) -> None:
    sequences = sequences_of((9, 1, 200, 64))
    results = classifier.run(sequences)
    assert [result.shape for result in results] == [(3,)] * 4
    for ids, result in zip(sequences, results, strict=True):
        assert close(result, labeller(ids))


def test_results_do_not_share_memory(embedder: mbert.Embedder) -> None:
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
    embedder: mbert.Embedder, lengths: list[int], alone: int, seed: int
) -> None:
    sequences = sequences_of(tuple(lengths), seed)
    i = alone % len(sequences)
    assert close(embedder.run(sequences)[i], embedder.run([sequences[i]])[0])


def test_what_a_tokenizer_saved_about_length_and_padding_is_not_applied(
    embed_bundle: Path, edited: Callable[..., Path], embedder: mbert.Embedder
) -> None:
    def change(folder: Path) -> None:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(4)
        tokenizer.enable_padding(length=50)
        tokenizer.save(str(folder / "tokenizer.json"))

    with mbert.load(edited(embed_bundle, change)) as model:
        for overflow in ("error", "truncate", "window"):
            found = model.embed(SENTENCES, overflow=overflow)
            assert close(found, embedder.embed(SENTENCES))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([1], "Text 0 .*int"),
        (["a", None], "Text 1 .*NoneType"),
        ([["a", "b"]], "Text 0 .*list"),
        ([("a", "b", "c")], "Text 0 .*tuple"),
        ([("a", 1)], "Text 0 .*tuple"),
        ([b"a"], "Text 0 .*bytes"),
        (["a", "lone \ud800 surrogate"], "Text 1"),
    ],
    ids=["number", "none", "list", "three texts", "no pair of texts", "bytes", "surrogate"],
)
def test_what_is_no_text_is_refused(
    embedder: mbert.Embedder,
    masker: mbert.MaskFiller,
    classifier: mbert.Classifier,
    texts: Any,
    message: str,
) -> None:
    for method in (embedder.embed, masker.fill_mask, classifier.classify):
        with pytest.raises(InputError, match=message):
            method(texts)


def test_each_class_has_the_methods_of_its_task(
    embedder: mbert.Embedder, masker: mbert.MaskFiller, classifier: mbert.Classifier
) -> None:
    methods = {
        "embed": embedder,
        "similarity": embedder,
        "fill_mask": masker,
        "classify": classifier,
        "tag": None,
        "answer": None,
        "rerank": None,  # a classifier with three labels does not
        "token_weights": None,
    }
    for method, owner in methods.items():
        for model in (embedder, masker, classifier):
            assert hasattr(model, method) == (model is owner)


def test_a_bundle_without_a_tokenizer_takes_ids(
    embed_bundle: Path, edited: Callable[..., Path], embedder: mbert.Embedder
) -> None:
    bundle = edited(embed_bundle, lambda folder: (folder / "tokenizer.json").unlink())
    with mbert.load(bundle) as model:
        with pytest.raises(BundleError, match=r"tokenizer\.json.*run\(\)"):
            model.embed("a text")
        assert close(model.run([[1, 9, 2]])[0], embedder.run([[1, 9, 2]])[0])


def test_info_is_the_manifest(embedder: mbert.Embedder) -> None:
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
        with pytest.raises(BackendError, match="closed"):
            call()
    model.close()  # again, and nothing happens
    assert model.info.task == "feature-extraction"


def test_a_model_closes_when_its_block_fails(embed_bundle: Path) -> None:
    with pytest.raises(RuntimeError, match="of the caller"), mbert.load(embed_bundle) as model:
        raise RuntimeError("of the caller")
    with pytest.raises(BackendError, match="closed"):
        model.run([[1]])


def test_warm_up_changes_nothing(
    embedder: mbert.Embedder, masker: mbert.MaskFiller, classifier: mbert.Classifier
) -> None:
    before = embedder.run([[1, 9, 2]])[0]
    for model in (embedder, masker, classifier):
        model.warm_up()
    np.testing.assert_array_equal(embedder.run([[1, 9, 2]])[0], before)


@pytest.mark.parametrize("kernels", [True, False])
def test_every_way_of_running_agrees(
    embed_bundle: Path, embedder: mbert.Embedder, kernels: bool
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
        ({"threads": 0}, InputError, "threads.*0"),
        ({"threads": -2}, InputError, "threads.*-2"),
        ({"device": "cuda"}, BackendError, "device.*cuda.*cpu"),
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
    [("absent.so", "absent.so"), ("text.so", "text.so")],
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


def test_concurrent_calls_give_the_same_results(embedder: mbert.Embedder) -> None:
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


def test_concurrent_texts_give_the_same_embeddings(embedder: mbert.Embedder) -> None:
    expected = embedder.embed(SENTENCES)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: embedder.embed(SENTENCES), range(8)):
            np.testing.assert_array_equal(found, expected)
