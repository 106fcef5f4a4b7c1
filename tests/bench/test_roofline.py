"""The arithmetic of the roofline model against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mbert.bench.predict import Prediction, predict_lengths
from mbert.bench.random_checkpoint import SHAPES
from mbert.bench.roofline import (
    ATTENTION,
    ELEMENTWISE,
    PROJECTION,
    Assumptions,
    Operator,
    Shape,
    attended_pairs,
    computed_pairs,
    cost,
    embedding_operators,
    final_operators,
    forward_flop,
    layer_operators,
    tile_keys,
)
from mbert.export.targets import Figures
from mbert.model.families.modernbert_config import ModelConfig

BASE = Shape.of_config(SHAPES["base"])
# Round numbers: 100 TFLOP/s on tensor cores, 10 outside, 1,000 GB/s.
CARD = Figures(24, 1000, 100, 10, 50, 48)
PERFECT = Assumptions(1.0, 1.0, 1.0, 0.0, 0.0)


def predict(lengths: list[int], card: Figures = CARD, precision: str = "fp16") -> Prediction:
    return predict_lengths("x", lengths, BASE, card, precision, Assumptions())


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_those_of_the_published_configuration(name: str) -> None:
    config = ModelConfig.from_dict({"model_type": "modernbert", **SHAPES[name]})
    assert Shape.of_config(SHAPES[name]) == Shape(
        config.vocab_size,
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        tuple(layer.window for layer in config.layers),
    )


def test_the_flop_of_a_forward_pass_of_base() -> None:
    # 22 layers: 8 global ones, in which 100 and 300 tokens make 10,000 and 90,000 pairs; and 14
    # with a window of 64 keys to either side.
    windowed = sum(n * 129 - 64 * 65 for n in (100, 300))
    weights = 22 * (768 * 3 * 768 + 768 * 768 + 768 * 2 * 1152 + 1152 * 768)
    pairs = 8 * (100**2 + 300**2) + 14 * windowed
    assert forward_flop(BASE, [100, 300]) == 2 * 400 * weights + 4 * 768 * pairs
    assert forward_flop(BASE, []) == 0


def test_projections_of_base_cost_two_operations_for_each_of_110_million_weights() -> None:
    tokens = 100
    flop = sum(
        operator.flop
        for layer in range(22)
        for operator in layer_operators(BASE, layer, [tokens], 2)
        if operator.kind == PROJECTION
    )
    # Per layer 768 x 2304 + 768 x 768 + 768 x 2304 + 1152 x 768 weights.
    assert flop == 2 * 110_297_088 * tokens


def test_operators_of_a_windowed_layer_by_hand() -> None:
    # Two sequences of 64 tokens: each tile of 64 x 64 sees the keys of its sequence alone.
    found = {o.name: o for o in layer_operators(BASE, 1, [64, 64], 2)}
    row = 128 * 768 * 2
    assert list(found) == [
        "add + norm", "Wqkv", "attention, window 64", "Wo", "Wi", "GeGLU", "MLP Wo",
    ]  # fmt: skip
    assert found["add + norm"] == Operator("add + norm", ELEMENTWISE, 0, 4 * row)
    assert found["Wqkv"].flop == 2 * 128 * 768 * 2304
    assert found["Wqkv"].bytes == row + 3 * row + 2 * 768 * 2304
    assert found["attention, window 64"] == Operator(
        "attention, window 64", ATTENTION, 4 * (2 * 64 * 64) * 768, 4 * row
    )
    assert found["GeGLU"].bytes == 2 * 128 * (2304 + 1152)
    assert found["MLP Wo"].bytes == 2 * (128 * 1152 + 128 * 768 + 1152 * 768)


def test_layers_differ_as_the_model_has_them() -> None:
    first, windowed, global_ = (
        [operator.name for operator in layer_operators(BASE, layer, [128], 2)]
        for layer in (0, 1, 3)
    )
    assert first.count("add + norm") == 1  # no attention norm
    assert windowed.count("add + norm") == global_.count("add + norm") == 2
    assert "rotate keys" in global_
    assert "rotate keys" not in windowed
    assert [o.bytes for o in embedding_operators(BASE, 10, 2)] == [10 * (2 * 768 * 2 + 4)]
    assert [o.bytes for o in final_operators(BASE, 10, 2)] == [3 * 10 * 768 * 2]


@pytest.mark.parametrize("window", [-1, 0, 1, 16, 64, 500])
@pytest.mark.parametrize("lengths", [[0], [1], [63, 64], [65, 130, 0, 300]])
def test_pairs_are_those_of_a_dense_mask(lengths: list[int], window: int) -> None:
    attend = compute = 0
    for length in lengths:
        i = np.arange(length)
        near = np.abs(i[:, None] - i) <= (length if window < 0 else window)
        attend += int(near.sum())
        # A tile of 64 queries visits the tiles of 64 keys from the first to the last that a query
        # of a full tile could see.
        for first in range(0, length, 64):
            low = max(0, first - (length if window < 0 else window))
            high = min(length, first + 64 + (length if window < 0 else window))
            compute += 64 * 64 * len({key // 64 for key in range(low, high)})
    assert attended_pairs(lengths, window) == attend
    assert computed_pairs(lengths, window, 64) == compute >= attend


def test_tile_of_keys_is_the_kernels() -> None:
    assert [tile_keys(d, 2) for d in (32, 64, 128)] == [64, 64, 32]
    assert [tile_keys(d, 4) for d in (32, 64, 128)] == [64, 32, 16]


def test_cost_is_the_longer_of_arithmetic_and_traffic() -> None:
    compute = cost(Operator("a", PROJECTION, 1e12, 1e6), CARD, "fp16", PERFECT)
    assert (compute.seconds, compute.bound) == (pytest.approx(1e12 / 100e12), "compute")
    memory = cost(Operator("a", PROJECTION, 1e6, 1e9), CARD, "fp16", PERFECT)
    assert (memory.seconds, memory.bound) == (pytest.approx(1e9 / 1000e9), "memory")
    single = cost(Operator("a", PROJECTION, 1e12, 1e6), CARD, "fp32", PERFECT)
    assert single.seconds == pytest.approx(1e12 / 10e12)


def test_assumptions_scale_the_peaks_and_add_the_launch() -> None:
    assumptions = Assumptions(
        projection=0.5, attention=0.25, bandwidth=0.8, kernel_seconds=1e-3, launch_seconds=0
    )
    for kind, part in ((PROJECTION, 0.5), (ATTENTION, 0.25)):
        found = cost(Operator("a", kind, 1e12, 0), CARD, "fp16", assumptions)
        assert found.seconds == pytest.approx(0.01 / part + 1e-3)
    elementwise = cost(Operator("a", ELEMENTWISE, 0, 1e9), CARD, "fp16", assumptions)
    assert elementwise.seconds == pytest.approx(1e-3 / 0.8 + 1e-3)
    assert cost(Operator("a", ELEMENTWISE, 0, 4), CARD, "fp16", assumptions).bound == "launch"


def test_a_prediction_is_the_sum_of_its_parts() -> None:
    found = predict([300, 17, 512])
    assert found.tokens == 829
    ends = [row for row in found.operators if row.name in ("embedding", "add + final norm")]
    layers_and_ends = sum(found.layer_seconds) + sum(row.seconds for row in ends)
    assert found.seconds == pytest.approx(layers_and_ends)
    assert found.seconds == pytest.approx(sum(row.seconds for row in found.operators))
    assert found.tokens_per_second == pytest.approx(829 / found.seconds)
    # 7 of each layer, attention norms of all but the first, rotations of the global ones, 2 ends.
    assert found.kernels == 22 * 7 + 21 + 8 + 2
    assert found.kernels == sum(row.kernels for row in found.operators)


def test_without_a_graph_the_host_can_be_what_is_waited_for() -> None:
    small, large = predict([16]), predict([8192])
    assert small.seconds_without_graph == pytest.approx(small.kernels * 5e-6)
    assert small.seconds_without_graph > small.seconds
    assert large.seconds_without_graph == large.seconds
