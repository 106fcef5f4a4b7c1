"""The table of GPUs and what is found in it."""

from __future__ import annotations

import pytest

from mbert.errors import ExportError
from mbert.export.targets import TARGETS, find_target, target_of_card

# Of NVIDIA's list of CUDA GPUs and their compute capabilities.
CAPABILITIES = {
    "t4": "7.5",
    "rtx3090": "8.6",
    "rtx4080": "8.9",
    "rtx4090": "8.9",
    "rtx5080": "12.0",
    "rtx5090": "12.0",
    "a10": "8.6",
    "a10g": "8.6",
    "a30": "8.0",
    "a40": "8.6",
    "a100": "8.0",
    "a6000": "8.6",
    "l4": "8.9",
    "l40": "8.9",
    "l40s": "8.9",
    "h100": "9.0",
    "h200": "9.0",
    "b200": "10.0",
    "orin": "8.7",
}


def test_every_name_has_its_compute_capability() -> None:
    assert {name: target.compute_capability for name, target in TARGETS.items()} == CAPABILITIES


def test_figures_are_of_the_order_that_such_cards_have() -> None:
    for target in TARGETS.values():
        figures = target.figures
        assert figures is not None
        # Operations per byte of memory traffic at which a card is balanced.
        assert 70 < figures.half_tflops * 1e3 / figures.bandwidth_gbs < 450
        assert figures.half_tflops > figures.single_tflops


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("L4", "l4"),
        ("RTX 4090", "rtx4090"),
        ("NVIDIA A10G", "a10g"),
        ("GeForce-RTX_3090", "rtx3090"),
    ],
)
def test_a_name_may_be_written_as_people_write_it(written: str, name: str) -> None:
    assert find_target(written) is TARGETS[name]


@pytest.mark.parametrize(("name", "capability"), [("sm_89", "8.9"), ("SM120", "12.0")])
def test_any_compute_capability_is_a_target(name: str, capability: str) -> None:
    target = find_target(name)
    assert target.compute_capability == capability
    assert target.sm == int(name.lower().strip("sm_"))
    assert target.figures is None


def test_an_unknown_name_gives_the_nearest_ones() -> None:
    with pytest.raises(ExportError, match=r"no target 'rtx4900'\. Did you mean rtx4090"):
        find_target("rtx4900")
    with pytest.raises(ExportError, match=r"no target 'xyz'\. Known are t4"):
        find_target("xyz")


def test_a_gpu_that_is_too_old_is_refused() -> None:
    with pytest.raises(ExportError, match=r"compute capability 6\.1; mbert needs 7\.5"):
        find_target("sm_61")


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
    ],
)
def test_a_card_is_known_by_its_drivers_name(card: str, name: str) -> None:
    assert target_of_card(card) is TARGETS[name]


def test_any_other_card_is_none() -> None:
    assert target_of_card("NVIDIA GeForce GTX 1650") is None
