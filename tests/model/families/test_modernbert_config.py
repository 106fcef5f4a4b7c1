"""config.json: both spellings of every field, and everything that is refused."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from mbert.errors import CheckpointError
from mbert.export.checkpoint.config_json import read_config
from mbert.model.families.modernbert_config import LayerConfig, ModelConfig

FULL, SLIDING = "full_attention", "sliding_attention"

COMMON: dict[str, Any] = {
    "model_type": "modernbert",
    "architectures": ["ModernBertForMaskedLM"],
    "vocab_size": 500,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 1024,
    "local_attention": 32,
}
LEGACY: dict[str, Any] = {
    **COMMON,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 80_000.0,
    "local_rope_theta": 5_000.0,
}
CURRENT: dict[str, Any] = {
    **COMMON,
    "layer_types": [FULL, SLIDING, SLIDING, FULL],
    "rope_parameters": {
        FULL: {"rope_type": "default", "rope_theta": 80_000.0},
        SLIDING: {"rope_type": "default", "rope_theta": 5_000.0},
    },
}


def read(base: dict[str, Any], **changes: Any) -> ModelConfig:
    return ModelConfig.from_dict({**base, **changes})


def refuses(message: str, base: dict[str, Any] = COMMON, **changes: Any) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(base, **changes)


# ---- the two spellings


def test_both_spellings_resolve_to_the_same_config() -> None:
    assert read(LEGACY) == read(CURRENT)
    assert read(LEGACY).layers == (
        LayerConfig(window=-1, theta=80_000.0),
        LayerConfig(window=16, theta=5_000.0),
        LayerConfig(window=16, theta=5_000.0),
        LayerConfig(window=-1, theta=80_000.0),
    )


def test_both_spellings_at_once_are_fine_when_they_agree() -> None:
    both = {**LEGACY, **CURRENT, "sliding_window": 16}
    assert read(both) == read(CURRENT)


@given(layers=st.integers(1, 12), every=st.integers(1, 14))
def test_the_layer_pattern_is_global_where_the_index_divides(layers: int, every: int) -> None:
    kinds = [SLIDING if i % every else FULL for i in range(layers)]
    legacy = read(LEGACY, num_hidden_layers=layers, global_attn_every_n_layers=every)
    assert legacy == read(CURRENT, num_hidden_layers=layers, layer_types=kinds)
    assert [layer.window == -1 for layer in legacy.layers] == [kind == FULL for kind in kinds]


def test_a_layer_list_need_not_follow_a_pattern() -> None:
    config = read(CURRENT, layer_types=[SLIDING, FULL, FULL, SLIDING])
    assert [layer.window for layer in config.layers] == [16, -1, -1, 16]
    assert [layer.theta for layer in config.layers] == [5_000.0, 80_000.0, 80_000.0, 5_000.0]


def test_a_null_local_theta_means_the_global_one() -> None:
    config = read(LEGACY, local_rope_theta=None)
    assert {layer.theta for layer in config.layers} == {80_000.0}


def test_a_null_local_theta_without_a_global_one_means_the_default_global_one() -> None:
    config = read(COMMON, local_rope_theta=None)
    assert {layer.theta for layer in config.layers} == {160_000.0}


def test_what_a_config_leaves_out_has_the_published_default() -> None:
    config = ModelConfig.from_dict({"model_type": "modernbert"})
    expected = transformers.ModernBertConfig()
    for name in (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "max_position_embeddings",
        "hidden_activation",
        "norm_eps",
        "norm_bias",
        "attention_bias",
        "mlp_bias",
        "classifier_activation",
        "classifier_bias",
        "classifier_pooling",
        "decoder_bias",
        "tie_word_embeddings",
    ):
        assert getattr(config, name) == getattr(expected, name), name
    assert config.head_dim == 64
    assert config.architectures == ()
    assert config.problem_type is None
    assert config.id2label == ("LABEL_0", "LABEL_1")
    kinds = [SLIDING if layer.window == 64 else FULL for layer in config.layers]
    assert kinds == list(expected.layer_types)
    for layer, kind in zip(config.layers, kinds, strict=True):
        assert layer.theta == expected.rope_parameters[kind]["rope_theta"]


@pytest.mark.parametrize(
    ("total", "window"), [(0, 0), (1, 0), (2, 1), (3, 1), (128, 64), (129, 64)]
)
def test_the_window_is_half_of_local_attention_rounded_down(total: int, window: int) -> None:
    assert read(LEGACY, local_attention=total).layers[1].window == window


def test_sliding_window_is_the_window_itself() -> None:
    config = {**CURRENT, "sliding_window": 21}
    del config["local_attention"]
    assert read(config).layers[1].window == 21


# ---- contradictions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"global_attn_every_n_layers": 2}, "layer_types says .*global_attn_every_n_layers says"),
        (
            {"global_rope_theta": 70_000.0},
            r"full_attention\.rope_theta says 80000\.0, global_rope_theta says 70000\.0",
        ),
        (
            {"local_rope_theta": 6_000.0},
            r"sliding_attention\.rope_theta says 5000\.0, local_rope_theta says 6000\.0",
        ),
        ({"sliding_window": 32}, "local_attention // 2 says 16, sliding_window says 32"),
    ],
)
def test_two_spellings_that_differ_are_refused(changes: dict[str, Any], message: str) -> None:
    refuses("contradicts itself: .*" + message, CURRENT, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 65}, "hidden_size 65 is not a multiple of num_attention_heads 2"),
        ({"head_dim": 64}, "head_dim 64 contradicts .* = 32"),
        ({"hidden_size": 66}, "head_dim 33 is odd"),
        ({"layer_types": [FULL]}, "layer_types names 1 layers, num_hidden_layers is 4"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(changes: dict[str, Any], message: str) -> None:
    refuses(message, **changes)


def test_a_head_dim_that_agrees_is_fine() -> None:
    assert read(COMMON, head_dim=32).head_dim == 32


# ---- other models, other rotary embeddings


@pytest.mark.parametrize("model_type", ["bert", "modernbert-decoder", None, 7])
def test_other_model_types_are_refused(model_type: object) -> None:
    refuses(f"model_type is {re.escape(repr(model_type))}; .*'modernbert'", model_type=model_type)


def test_a_missing_model_type_is_refused() -> None:
    with pytest.raises(CheckpointError, match="model_type is None"):
        ModelConfig.from_dict({"vocab_size": 10})


def test_the_decoder_is_refused_with_the_reason() -> None:
    refuses("causally", model_type="modernbert-decoder")


@pytest.mark.parametrize("key", ["is_causal", "is_decoder", "add_cross_attention"])
def test_causal_variants_are_refused(key: str) -> None:
    refuses(f"{key} is true; .*bidirectional", **{key: True})
    assert read(COMMON, **{key: False}) == read(COMMON)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"rope_parameters": {FULL: {"rope_type": "yarn", "rope_theta": 1e4}}},
            r"full_attention\.rope_type is 'yarn'",
        ),
        (
            {"rope_parameters": {SLIDING: {"rope_theta": 1e4, "factor": 8.0}}},
            r"sliding_attention\.factor is 8\.0",
        ),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, r"rope_scaling\.type is 'linear'"),
        ({"rope_scaling": {"rope_type": "dynamic"}}, r"rope_scaling\.rope_type is 'dynamic'"),
        ({"rope_scaling": {"factor": 4.0}}, r"rope_scaling\.factor is 4\.0"),
    ],
)
def test_scaled_rotary_embeddings_are_refused(changes: dict[str, Any], found: str) -> None:
    refuses(f"{found}; mbert computes the default rotary embedding only", **changes)


@pytest.mark.parametrize("scaling", [None, {}, {"rope_type": "default"}, {"factor": 1.0}])
def test_a_rope_scaling_that_scales_nothing_is_fine(scaling: object) -> None:
    assert read(LEGACY, rope_scaling=scaling) == read(LEGACY)


# ---- types and ranges


@pytest.mark.parametrize("value", [0, -1, 1.5, "64", True, None, [64]])
@pytest.mark.parametrize(
    "key",
    [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
    ],
)
def test_counts_are_positive_integers(key: str, value: object) -> None:
    found = re.escape(f"{key} is {value!r}; expected a positive integer")
    refuses(found, **{key: value})


@pytest.mark.parametrize("value", [0, -3, 2.0, "3", True])
def test_the_layer_pattern_is_a_positive_integer(value: object) -> None:
    found = re.escape(f"global_attn_every_n_layers is {value!r}; expected a positive integer")
    refuses(found, LEGACY, global_attn_every_n_layers=value)
    refuses(found, CURRENT, global_attn_every_n_layers=value)


@pytest.mark.parametrize("value", [-1, 2.5, "128", True])
@pytest.mark.parametrize("key", ["local_attention", "sliding_window"])
def test_windows_are_no_negative_numbers(key: str, value: object) -> None:
    refuses(re.escape(f"{key} is {value!r}; expected an integer >= 0"), **{key: value})


@pytest.mark.parametrize("value", [0, 1, "true", None])
@pytest.mark.parametrize(
    "key",
    [
        "norm_bias",
        "attention_bias",
        "mlp_bias",
        "classifier_bias",
        "decoder_bias",
        "tie_word_embeddings",
    ],
)
def test_flags_are_true_or_false(key: str, value: object) -> None:
    refuses(re.escape(f"{key} is {value!r}; expected true or false"), **{key: value})


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("key", ["norm_bias", "attention_bias", "mlp_bias", "classifier_bias"])
def test_flags_are_taken_over(key: str, value: bool) -> None:
    assert getattr(read(COMMON, **{key: value}), key) is value


@pytest.mark.parametrize(
    "value", ["1e-5", True, None, math.inf, math.nan, -1e-5, pytest.param(10**400, id="huge")]
)
def test_norm_eps_is_a_finite_number_and_not_negative(value: object) -> None:
    refuses("norm_eps is .*expected", norm_eps=value)


@pytest.mark.parametrize("value", [0, -1.0, "1e4", True, math.inf, math.nan])
@pytest.mark.parametrize("key", ["global_rope_theta", "local_rope_theta"])
def test_thetas_are_positive_finite_numbers(key: str, value: object) -> None:
    refuses(f"{key} is .*expected a (positive|finite) number", LEGACY, **{key: value})


@pytest.mark.parametrize("value", [0, -1.0, "1e4", math.nan])
@pytest.mark.parametrize("kind", [FULL, SLIDING])
def test_thetas_in_rope_parameters_are_positive_numbers(kind: str, value: object) -> None:
    refuses(
        "rope_theta is .*expected a (positive|finite) number",
        rope_parameters={kind: {"rope_theta": value}},
    )


@pytest.mark.parametrize(
    "value",
    [
        ["default"],
        "default",
        {"rope_theta": 1e4, "rope_type": "default"},
        {FULL: {}, "chunked_attention": {}},
        {FULL: 10_000.0},
        {SLIDING: "default"},
    ],
    ids=json.dumps,
)
def test_rope_parameters_are_one_object_for_each_kind_of_layer(value: object) -> None:
    refuses("rope_parameters", rope_parameters=value)


@pytest.mark.parametrize("value", ["linear", ["linear"], 2.0], ids=json.dumps)
def test_a_rope_scaling_that_is_no_object_is_refused(value: object) -> None:
    refuses("rope_scaling", rope_scaling=value)


@pytest.mark.parametrize(
    "value", [FULL, {"0": FULL}, [FULL, SLIDING, SLIDING, "chunked_attention"], [FULL, 1, 2, 3]]
)
def test_layer_types_are_a_list_of_the_two_kinds(value: object) -> None:
    refuses("layer_types is .*expected a list of .*'full_attention'", layer_types=value)


@pytest.mark.parametrize("key", ["hidden_activation", "classifier_activation"])
def test_activations_are_those_that_are_computed(key: str) -> None:
    for name in ("gelu", "silu", "relu", "gelu_pytorch_tanh"):
        assert getattr(read(COMMON, **{key: name}), key) == name
    for wrong in ("tanh", "GELU", None, ["gelu"]):
        refuses(re.escape(f"{key} is {wrong!r}; mbert supports gelu, silu"), **{key: wrong})


def test_poolings_are_those_that_are_computed() -> None:
    for name in ("cls", "mean"):
        assert read(COMMON, classifier_pooling=name).classifier_pooling == name
    refuses("classifier_pooling is 'max'; mbert supports cls, mean", classifier_pooling="max")


# ---- labels, architectures


def test_labels_come_in_the_order_of_their_ids() -> None:
    labels = {"1": "bad", "0": "good", "10": "k", **{str(i): f"l{i}" for i in range(2, 10)}}
    found = read(COMMON, id2label=labels).id2label
    assert found[:2] == ("good", "bad")
    assert found[10] == "k"


@pytest.mark.parametrize("count", [1, 3])
def test_the_number_of_labels_names_them(count: int) -> None:
    assert read(COMMON, num_labels=count).id2label == tuple(f"LABEL_{i}" for i in range(count))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"], "expected an object from ids to labels"),
        ("ab", "expected an object from ids to labels"),
        ({"good": "0"}, "expected an object from ids to labels"),
        (
            {"1": "a", "2": "b"},
            r"id2label has the ids \[1, 2\]; expected 0, 1, ",
        ),
        (
            {"0": "a", "2": "b"},
            r"id2label has the ids \[0, 2\]; expected 0, 1, ",
        ),
        ({}, "id2label"),
    ],
    ids=["list", "string", "names", "from 1", "a gap", "none"],
)
def test_labels_that_name_no_rows_are_refused(labels: object, message: str) -> None:
    refuses(message, id2label=labels)


@pytest.mark.parametrize("count", [0, -2, "3", 1.5, True])
def test_a_number_of_labels_is_a_positive_integer(count: object) -> None:
    refuses("num_labels is .*expected a positive integer", num_labels=count)


@pytest.mark.parametrize("value", ["ModernBertModel", 5, [5], {"a": 1}], ids=json.dumps)
def test_architectures_are_a_list_of_names(value: object) -> None:
    refuses("architectures is .*expected a list", architectures=value)


@pytest.mark.parametrize(
    "value", [None, "regression", "single_label_classification", "multi_label_classification"]
)
def test_the_problem_type_is_taken_over(value: str | None) -> None:
    assert read(COMMON, problem_type=value).problem_type == value


@pytest.mark.parametrize("value", ["multilabel", 5, ["regression"]], ids=json.dumps)
def test_an_unknown_problem_type_is_refused(value: object) -> None:
    refuses("problem_type is .*regression", problem_type=value)


# ---- the file


def test_a_file_is_read_as_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LEGACY), encoding="utf-8")
    assert read_config(tmp_path) == read(LEGACY)


def test_keys_that_mbert_does_not_know_change_nothing() -> None:
    extra = {"torch_dtype": "float32", "mlp_dropout": 0.1, "sep_token_id": 2, "_name": [1]}
    assert read(LEGACY, **extra) == read(LEGACY)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b'{"model_type": "modernbert"', "cannot be read as JSON"),
        (b"\xff\xfe{}", "cannot be read as JSON"),
        (b"[]", "holds a JSON list, expected an object"),
        (b"null", "holds a JSON NoneType, expected an object"),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(
    tmp_path: Path, contents: bytes, message: str
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(contents)
    with pytest.raises(CheckpointError, match=message) as raised:
        read_config(tmp_path)
    assert str(path) in str(raised.value)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_config(tmp_path)


def test_a_missing_file_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json\. Pass the folder"):
        read_config(tmp_path)
