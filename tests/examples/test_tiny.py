"""examples/tiny does what its README says, through the exported model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import mbert

TINY = Path(__file__).parents[2] / "examples" / "tiny"
TOP_1, TOP_5 = 0.35, 0.55


def test_masked_tokens_of_unseen_text(tiny_fill_mask_bundle: Path) -> None:
    lines = (TINY / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    samples = [json.loads(line) for line in lines]
    with mbert.load(tiny_fill_mask_bundle) as model:
        logits = np.concatenate(model.run([sample["input_ids"] for sample in samples]))
    targets = np.concatenate([sample["targets"] for sample in samples])
    assert len(targets) >= 1500
    best = np.argsort(-logits, axis=1)[:, :5]
    hits = best == targets[:, None]
    assert hits[:, 0].mean() >= TOP_1
    assert hits.any(1).mean() >= TOP_5
    # Three times what always naming the most frequent token would give.
    assert hits[:, 0].mean() >= 3 * (np.bincount(targets).max() / len(targets))
