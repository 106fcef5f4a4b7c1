"""What every task has in common, tested with every task."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mbert
from mbert.errors import InputError
from support.task_cases import CASES, LONG, TaskCase, assert_same, extract_bundles

# Classes with a method of their own beside embed.
CLASSES = {case.model for case in CASES.values()}
WITHOUT_WINDOWS = [name for name, case in CASES.items() if "window" not in case.overflows]
WITH_WINDOWS = [name for name, case in CASES.items() if "window" in case.overflows]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return extract_bundles(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def models(bundles: dict[str, Path]) -> Iterator[dict[str, mbert.Model]]:
    loaded = {name: mbert.load(path, threads=1) for name, path in bundles.items()}
    yield loaded
    for model in loaded.values():
        model.close()


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> TaskCase:
    return CASES[request.param]


@pytest.fixture
def model(case: TaskCase, models: dict[str, mbert.Model]) -> mbert.Model:
    return models[case.bundle]


# ---- classes


def test_the_bundle_decides_the_class(
    case: TaskCase, model: mbert.Model, bundles: dict[str, Path]
) -> None:
    assert type(model) is getattr(mbert, case.model)
    own = type(model).load(bundles[case.bundle])
    assert type(own) is type(model)
    own.close()
    for name in CLASSES - {case.model}:
        other = getattr(mbert, name)
        if not isinstance(model, other):  # a reranker is a classifier too
            with pytest.raises(InputError, match=f"{model.task}.*{name}.*{case.model}"):
                other.load(bundles[case.bundle])


def test_a_method_of_another_class_is_named_with_its_owner(
    case: TaskCase, model: mbert.Model
) -> None:
    for other in CASES.values():
        if not hasattr(type(model), other.method) and other.model != "Reranker":
            assert not hasattr(model, other.method)
            with pytest.raises(AttributeError, match=rf"{other.method}.*{other.model}"):
                getattr(model, other.method)


def test_repr_and_properties_say_what_is_loaded(
    case: TaskCase, model: mbert.Model, bundles: dict[str, Path]
) -> None:
    shown = repr(model)
    assert shown.startswith(f"{case.model}(")
    for value in (str(bundles[case.bundle]), model.task, "cpu", "fp32", str(model.dimension)):
        assert value in shown
    assert model.task == model.info.task


@pytest.mark.parametrize(
    ("name", "dimension"),
    [
        ("feature-extraction", 64),
        ("sentence-similarity", None),
        ("fill-mask", 320),
        ("text-classification", None),
        ("reranker", 1),
        ("question-answering", 1),
        ("sparse-embedding", 320),
        ("multi-vector", 16),
    ],
)
def test_dimension_is_the_width_of_results(
    models: dict[str, mbert.Model], name: str, dimension: int | None
) -> None:
    model: Any = models[name]
    if name == "text-classification":
        dimension = len(model.info.labels)
    elif name == "sentence-similarity":
        dimension = model.embed("a text").size
    assert model.dimension == dimension
    result = model.run([[1, 3, 2]])[0]
    if not isinstance(result, dict) and name != "sentence-similarity":
        assert result.shape[-1] == dimension


# ---- the seam: encode, run, reduce, decode


def test_the_parts_of_an_operation_make_the_methods_results(
    case: TaskCase, model: mbert.Model
) -> None:
    operation = case.operation(model.context, **case.options)
    inputs = case.inputs((*CASE_TEXTS, LONG) if case.overflows[0] == "window" else CASE_TEXTS)
    groups = operation.encode(inputs)
    assert len(groups) == len(inputs)
    sequences = [sequence for group in groups for sequence in group]
    kept: dict[int, Any] = {}
    for i, rows in model.engine.run(sequences):
        assert len(rows) == len(model.info.outputs)
        kept[i] = operation.reduce(rows, sequences[i])
    numbers = iter(range(len(sequences)))
    results = [operation.decode([kept[next(numbers)] for _ in group]) for group in groups]
    assert_same(list(operation.collect(results)), case.call(model, inputs), 0)


def test_sequences_of_several_callers_can_share_a_batch(case: TaskCase, model: mbert.Model) -> None:
    """What a server does: it batches across callers, each with an operation of its own."""
    callers = [case.inputs([text]) for text in CASE_TEXTS]
    operations = [case.operation(model.context, **case.options) for _ in callers]
    owned = [
        (operation, sequence)
        for operation, inputs in zip(operations, callers, strict=True)
        for group in operation.encode(inputs)
        for sequence in group
    ]
    assert len(owned) == len(callers)
    found: list[Any] = [None] * len(owned)
    for i, rows in model.engine.run([sequence for _, sequence in owned]):
        operation, sequence = owned[i]
        results = [operation.decode([operation.reduce(rows, sequence)])]
        (found[i],) = operation.collect(results)
    for one, inputs in zip(found, callers, strict=True):
        assert_same(one, case.call(model, inputs)[0])


def test_an_operation_numbers_its_inputs_from_first(case: TaskCase, model: mbert.Model) -> None:
    operation = case.operation(model.context, **case.options)
    wrong: Any = 5 if case.method != "answer" else ("a", 5)
    with pytest.raises(InputError, match=r"\b42\b"):
        operation.encode([case.single("a"), case.single("b"), wrong], first=40)


# ---- several inputs


CASE_TEXTS = ("The river rose in the night.", "", "A baker sells bread, and the mill grinds.", "x")


def test_no_inputs_give_no_results(case: TaskCase, model: mbert.Model) -> None:
    assert case.call(model, []) == []
    assert list(case.iterate(model, [])) == []


def test_batch_tokens_change_no_result(case: TaskCase, model: mbert.Model) -> None:
    inputs = case.inputs()
    expected = case.call(model, inputs)
    for batch_tokens in (1, 7, 100, np.int64(2048), model.info.limits.max_tokens):
        assert_same(case.call(model, inputs, batch_tokens=batch_tokens), expected)
    assert_same(list(case.iterate(model, inputs, batch_tokens=30)), expected)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "3", True, 16385])
def test_batch_tokens_out_of_range_are_refused(
    case: TaskCase, model: mbert.Model, wrong: Any
) -> None:
    with pytest.raises(InputError, match=f"batch_tokens.*{wrong}"):
        case.call(model, case.inputs(), batch_tokens=wrong)
    with pytest.raises(InputError, match=f"batch_tokens.*{wrong}"):
        model.run([[1, 2]], batch_tokens=wrong)


def test_run_takes_batch_tokens(model: mbert.Model) -> None:
    generator = np.random.default_rng(0)
    sequences = [generator.integers(5, 300, length) for length in (3, 60, 1, 40, 7)]
    found, expected = (_flat(model.run(sequences, batch_tokens=n)) for n in (50, None))
    assert_same(found, expected)


def _flat(results: list[Any]) -> Any:
    """Return all numbers, so that errors are held against the largest of all results."""
    arrays = [list(one.values()) if isinstance(one, dict) else [one] for one in results]
    return np.concatenate([array.ravel() for one in arrays for array in one])


# ---- iterators


@pytest.mark.parametrize("look_ahead", [1, 3, 1024])
def test_the_iterator_equals_the_method(
    case: TaskCase, model: mbert.Model, look_ahead: int
) -> None:
    inputs = case.inputs() * 2
    expected = case.call(model, inputs)
    found = list(case.iterate(model, iter(inputs), look_ahead=look_ahead))
    assert_same(found, expected)
    for result in found:
        assert not isinstance(result, np.ndarray) or result.base is None


def test_the_iterator_reads_as_results_are_due(case: TaskCase, model: mbert.Model) -> None:
    taken = 0

    def endless() -> Iterator[Any]:
        nonlocal taken
        for taken in itertools.count(1):
            yield case.single("a river" * (taken % 3))

    results = case.iterate(model, endless(), look_ahead=4)
    assert taken == 0
    seen = []
    for _ in itertools.islice(results, 15):
        seen.append(taken)
    # Blocks of 1, 2 and then 4.
    assert seen == [1, 3, 3, 7, 7, 7, 7, 11, 11, 11, 11, 15, 15, 15, 15]


def test_an_error_in_an_iterator_numbers_the_input_in_the_whole(
    case: TaskCase, model: mbert.Model
) -> None:
    wrong: Any = 5 if case.method != "answer" else ("a", 5)
    results = case.iterate(model, [*case.inputs(["a"] * 9), wrong], look_ahead=2)
    assert len(list(itertools.islice(results, 9))) == 9
    with pytest.raises(InputError, match=r"\b9\b.*(int|tuple)"):
        next(results)
    options = {**case.options, "overflow": "error"}
    results = case.iterate(model, case.inputs(["a"] * 3 + [LONG]), look_ahead=2, **options)
    assert len(list(itertools.islice(results, 3))) == 3
    with pytest.raises(InputError, match=r"\b3\b.* tokens"):
        next(results)


@pytest.mark.parametrize(
    "wrong", ["text", b"text", {"a": 1}, {"a"}, frozenset("a"), {"a": 1}.values, None, 5]
)
def test_inputs_without_an_order_are_refused(
    case: TaskCase, model: mbert.Model, wrong: Any
) -> None:
    kind = type(wrong).__name__
    with pytest.raises(InputError, match=kind):
        case.iterate(model, wrong)
    if isinstance(wrong, str):
        return
    method: Any = getattr(model, case.method)
    arguments = (wrong, ["a"]) if case.method == "answer" else (wrong,)
    with pytest.raises(InputError, match=kind):
        method(*arguments, **case.options)


def test_options_of_an_iterator_are_checked_at_once(case: TaskCase, model: mbert.Model) -> None:
    with pytest.raises(InputError, match=r"look_ahead.*0"):
        case.iterate(model, ["a"], look_ahead=0)
    with pytest.raises(InputError, match=r"overflow.*cut"):
        case.iterate(model, ["a"], overflow="cut")
    with pytest.raises(TypeError, match="unknown"):
        case.iterate(model, ["a"], unknown=1)


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


def test_progress_is_shown_on_demand(
    case: TaskCase, model: mbert.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = case.inputs()
    for call, shown in (
        (lambda: case.call(model, inputs, progress=True), "100%"),
        (lambda: list(case.iterate(model, inputs, progress=True)), "100%"),
        (lambda: list(case.iterate(model, iter(inputs), progress=True)), str(len(inputs))),
        (lambda: case.call(model, inputs), None),
        (lambda: list(case.iterate(model, inputs)), None),
    ):
        terminal = _Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        call()
        assert (shown in terminal.written) if shown else not terminal.written


# ---- long texts


def test_long_texts_by_overflow(case: TaskCase, model: mbert.Model) -> None:
    inputs = case.inputs(["short", LONG])
    default = case.overflows[0]
    with pytest.raises(InputError, match=r"\b1 .*tokens"):
        case.call(model, inputs, overflow="error")
    results = {
        overflow: case.call(model, inputs, overflow=overflow)
        for overflow in case.overflows
        if overflow != "error"
    }
    if default != "error":
        assert_same(case.call(model, inputs), results[default], 0)
    else:
        with pytest.raises(InputError, match=r"\b1 .*tokens"):
            case.call(model, inputs)
    alone = case.call(model, inputs[:1])
    for found in results.values():
        assert_same(found[:1], alone)
    if "window" in results:
        assert str(results["window"][1]) != str(results["truncate"][1])


@pytest.mark.parametrize("name", WITHOUT_WINDOWS)
def test_windows_are_refused_where_a_task_has_none(
    models: dict[str, mbert.Model], name: str
) -> None:
    case = CASES[name]
    model = models[case.bundle]
    with pytest.raises(InputError, match=r"overflow.*window.*error, truncate"):
        case.call(model, case.inputs(), overflow="window")
    with pytest.raises(TypeError, match="stride"):
        case.call(model, case.inputs(), stride=2)


@pytest.mark.parametrize("name", WITH_WINDOWS)
def test_stride_sizes_windows(models: dict[str, mbert.Model], name: str) -> None:
    case = CASES[name]
    model = models[case.bundle]
    operation = {
        stride: case.operation(model.context, **case.options, overflow="window", stride=stride)
        for stride in (0, 5, 40)
    }
    counts = [len(one.encode(case.inputs([LONG * 3]))[0]) for one in operation.values()]
    assert counts == sorted(counts)
    assert 1 < counts[0] < counts[2]
    for overflow in ("truncate", "error"):
        with pytest.raises(InputError, match=rf"stride.*3.*{overflow}"):
            case.call(model, case.inputs(), overflow=overflow, stride=3)
    for wrong in (-1, 2.5):
        with pytest.raises(InputError, match=rf"stride.*{wrong}"):
            case.call(model, case.inputs(), overflow="window", stride=wrong)


@pytest.mark.parametrize("overflow", ["error", "truncate", "window"])
def test_the_default_of_a_model(
    case: TaskCase, model: mbert.Model, bundles: dict[str, Path], overflow: str
) -> None:
    inputs = case.inputs(["short", LONG])
    if overflow not in type(model).overflows:
        with pytest.raises(InputError, match=r"overflow.*window.*error or truncate"):
            mbert.load(bundles[case.bundle], overflow=overflow)
        return
    with mbert.load(bundles[case.bundle], threads=1, overflow=overflow) as other:
        if overflow == "error":
            with pytest.raises(InputError, match=r"\b1 .*tokens"):
                case.call(other, inputs)
        else:
            expected = case.call(model, inputs, overflow=overflow)
            assert_same(case.call(other, inputs), expected, 0)
            assert_same(list(case.iterate(other, inputs)), expected)
        # The caller's word comes first.
        expected = case.call(model, inputs, overflow="truncate")
        assert_same(case.call(other, inputs, overflow="truncate"), expected, 0)


@pytest.mark.parametrize("wrong", ["cut", "", 3])
def test_an_unknown_default_is_refused(bundles: dict[str, Path], wrong: Any) -> None:
    with pytest.raises(InputError, match=rf"overflow.*{wrong}.*error, truncate, window"):
        mbert.load(bundles["fill-mask"], overflow=wrong)


def test_rerankers_truncate(models: dict[str, mbert.Model], bundles: dict[str, Path]) -> None:
    for name in ("reranker", "multi-vector"):
        model: Any = models[name]
        documents = ["short", LONG]
        with pytest.raises(InputError, match=r"\b1 .*tokens"):
            model.rerank("Who?", documents)
        with pytest.raises(InputError, match=r"overflow.*window"):
            model.rerank("Who?", documents, overflow="window")
        expected = model.rerank("Who?", documents, overflow="truncate")
        for batch_tokens in (1, 50):
            found = model.rerank(
                "Who?", iter(documents), overflow="truncate", batch_tokens=batch_tokens
            )
            assert_same(found, expected)
        assert_same(model.rerank("Who?", documents, overflow="truncate", progress=True), expected)
        with mbert.load(bundles[name], overflow="truncate", threads=1) as other:
            assert_same(other.rerank("Who?", documents), expected)  # type: ignore[attr-defined]
        for wrong in ({"a": 1}, {"a", "b"}, "a text"):
            with pytest.raises(InputError, match=f"documents.*{type(wrong).__name__}"):
                model.rerank("Who?", wrong)


# ---- tokens


def test_tokens_are_what_the_graph_gets(case: TaskCase, model: mbert.Model) -> None:
    texts = ["The river rose.", "", LONG, ("a", "pair")]
    ids = model.tokenize(texts)
    assert [one.dtype for one in ids] == [np.int32] * 4
    special = model.info.special_tokens
    for one in ids:
        assert (one[0], one[-1]) == (special["cls"], special["sep"])
    assert model.count_tokens(texts) == [one.size for one in ids]
    assert ids[2].size > model.info.limits.max_sequence_length
    alone = model.tokenize(texts[0])
    np.testing.assert_array_equal(alone, ids[0])
    assert model.count_tokens("The river rose.") == ids[0].size
    assert model.tokenize([]) == model.count_tokens([]) == []
    assert len(model.tokenize(iter(texts))) == 4
    if case.name in ("feature-extraction", "text-classification", "sparse-embedding"):
        operation = case.operation(model.context)
        np.testing.assert_array_equal(operation.encode([texts[0]])[0][0].ids, ids[0])


@pytest.mark.parametrize("wrong", [5, None, {"a": 1}, {"a"}, [1], ["a", None], [("a", "b", "c")]])
def test_what_cannot_be_tokenized_is_refused(models: dict[str, mbert.Model], wrong: Any) -> None:
    model = models["fill-mask"]
    for call in (model.tokenize, model.count_tokens):
        with pytest.raises(InputError, match=r"[Tt]ext"):
            call(wrong)


def test_rankings_one_by_one(models: dict[str, mbert.Model]) -> None:
    rankings = [("a query", ["one", "another text"]), ("bread", ["flour", "a river", "salt"])]
    for name in ("reranker", "multi-vector"):
        model: Any = models[name]
        found = list(model.rerank_iter(iter(rankings), top_k=2))
        for ranked, (query, documents) in zip(found, rankings, strict=True):
            expected = model.rerank(query, documents, top_k=2)
            assert [(r.index, r.document) for r in ranked] == [
                (r.index, r.document) for r in expected
            ]
            scores = [r.score for r in expected]
            assert [r.score for r in ranked] == pytest.approx(scores, abs=2e-5)
        with pytest.raises(InputError, match=r"query.*int"):
            list(model.rerank_iter([(1, ["a"])]))
