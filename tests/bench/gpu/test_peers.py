"""The peers compute the operator, or say why they cannot."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mbert.bench.gpu import peers
from mbert.bench.gpu.attention import agreement
from mbert.model.operators.attention import varlen_attention

LENGTHS = [130, 1, 64, 77]


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "compiled", lambda function: function)


def work_of(window: int) -> peers.Workload:
    return peers.make_workload(LENGTHS, 2, 32, window, torch.float32, "cpu")


def reference(work: peers.Workload) -> Tensor:
    return varlen_attention(
        work.qkv, work.cu_seqlens, work.rope, work.num_heads, work.scale, work.window
    )


def test_workload_is_packed() -> None:
    work = work_of(-1)
    assert (work.tokens, work.longest, work.head_dim) == (272, 130, 32)
    assert work.cu_seqlens.tolist() == [0, 130, 131, 195, 272]
    assert work.cu_seqlens.dtype == torch.int32
    assert work.positions[[0, 129, 130, 131, 194, 195, 271]].tolist() == [0, 129, 0, 0, 63, 0, 76]


@pytest.mark.parametrize("window", [-1, 0, 16])
def test_flex_computes_the_operator(window: int) -> None:
    work = work_of(window)
    attend = peers.flex(work)
    assert torch.allclose(attend(work.qkv), reference(work), atol=1e-5)


def varlen_of_dense(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, offsets_k: Tensor, longest: int,
    longest_k: int, *, scale: float, window_size: tuple[int, int] = (-1, -1),
) -> Tensor:  # fmt: skip
    """Compute PyTorch's varlen_attn, which has no CPU kernel."""
    assert longest == longest_k == max(LENGTHS)
    assert torch.equal(offsets, offsets_k)
    qkv = torch.cat([x.flatten(1) for x in (q, k, v)], dim=1)
    left, right = window_size
    assert left == right
    still = torch.cat((torch.ones(longest, 16), torch.zeros(longest, 16)), dim=1)
    return varlen_attention(qkv, offsets, still, q.shape[1], scale, left).view_as(q)


@pytest.mark.parametrize("window", [-1, 0, 16])
def test_flash_is_given_the_operators_arguments(
    window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="of PyTorch 2.10 and later")
    monkeypatch.setattr(varlen, "varlen_attn", varlen_of_dense)
    work = work_of(window)
    assert torch.allclose(peers.flash(work)(work.qkv), reference(work), atol=1e-5)


def test_varlen_without_scale_and_window_gives_way_to_nested_tensors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Take PyTorch 2.10's parameters."""

    def varlen_attn(
        query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor,
        max_q: int, max_k: int, is_causal: bool = False, return_aux: object = None,
    ) -> Tensor:  # fmt: skip
        raise AssertionError("called")

    module = SimpleNamespace(varlen_attn=varlen_attn)
    monkeypatch.setattr(peers, "import_module", lambda name: module)
    work = work_of(-1)
    assert torch.allclose(peers.flash(work)(work.qkv), reference(work), atol=1e-5)
    with pytest.raises(NotImplementedError, match="no packed flash attention with a window"):
        peers.flash(work_of(16))


def test_nested_tensors_compute_the_operator_without_a_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(peers, "import_module", absent)
    work = work_of(-1)
    assert torch.allclose(peers.flash(work)(work.qkv), reference(work), atol=1e-5)
    found, reasons = peers.open_peers(work_of(16))
    assert list(found) == ["flex"]
    assert "no packed flash attention with a window" in reasons[0]


@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_programs_that_disagree_are_found(size: float) -> None:
    """The tolerance is relative, since averages of many values are small."""
    work = work_of(16)
    other = work_of(-1)
    right, wrong = agreement(
        "W",
        16,
        {
            "ours": lambda: size * reference(work),
            "same": lambda: size * (reference(work) + 1e-3),
            "other": lambda: size * reference(other),
        },
    )
    assert right.problem is None
    assert wrong.name == "W, window 16: other agrees"
    assert "errs by" in str(wrong.problem)
