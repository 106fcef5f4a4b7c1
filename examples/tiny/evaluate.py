"""Measures a checkpoint on held-out text, against always guessing the most frequent tokens."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from corpus import HELDOUT_SHARE, IGNORE, SEED, evaluation_texts, mask_tokens, split_passages
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from transformers import ModernBertForMaskedLM

LENGTH = 256  # ids in a text, at most
MASKED = 0.15  # share of the ordinary tokens
RUN = 8  # a token is "repeated" if it lies in a run of so many that the training text has too
SAMPLE_MASKS = 2000  # at least so many masked positions go into the sample for tests


@dataclass
class MaskedText:
    """A held-out text with [MASK] in some places, and what stood there."""

    text: str
    input_ids: list[int]
    mask_positions: list[int]
    targets: list[int]
    repeated: list[bool]  # per mask: whether the training text has the same run of tokens


@dataclass
class Guesses:
    """The five best guesses for each mask, and the right tokens."""

    best: torch.Tensor
    targets: torch.Tensor

    def accuracy(self, k: int) -> float:
        """The share of masks whose token is among the first `k` guesses."""
        return (self.best[:, :k] == self.targets[:, None]).any(1).float().mean().item()

    def where(self, keep: torch.Tensor) -> Guesses:
        """The guesses for some of the masks."""
        return Guesses(self.best[keep], self.targets[keep])


def runs(ids: Sequence[int]) -> list[tuple[int, ...]]:
    """All runs of RUN tokens in `ids`."""
    return [tuple(ids[i : i + RUN]) for i in range(len(ids) - RUN + 1)]


def masked_texts(
    tokenizer: Tokenizer, heldout: list[str], training: Iterable[Sequence[int]]
) -> list[MaskedText]:
    """Held-out texts in a random but fixed order, each masked once (none without a mask)."""
    known = {run for ids in training for run in runs(ids)}
    texts = evaluation_texts(tokenizer, heldout, LENGTH)
    random.Random(SEED).shuffle(texts)
    generator = torch.Generator().manual_seed(SEED)
    masked = []
    for text in texts:
        ids = torch.tensor(tokenizer.encode(text).ids)
        inputs, labels = mask_tokens(ids, MASKED, generator)
        positions = (labels != IGNORE).nonzero().flatten().tolist()
        if not positions:
            continue
        repeated = [False] * len(ids)
        for i, run in enumerate(runs(ids.tolist())):
            if run in known:
                repeated[i : i + RUN] = [True] * RUN
        targets = ids[positions].tolist()
        flags = [repeated[p] for p in positions]
        masked.append(MaskedText(text, inputs.tolist(), positions, targets, flags))
    return masked


def all_targets(texts: list[MaskedText]) -> torch.Tensor:
    """The right tokens of all masks, in order."""
    return torch.tensor([target for text in texts for target in text.targets])


@torch.inference_mode()
def guesses(model: ModernBertForMaskedLM, texts: list[MaskedText]) -> Guesses:
    """What the model puts at the masks."""
    best = []
    for text in texts:
        logits = model(input_ids=torch.tensor([text.input_ids])).logits[0]
        best.append(logits[text.mask_positions].topk(5).indices)
    return Guesses(torch.cat(best), all_targets(texts))


def unigram_guesses(training: Iterable[Sequence[int]], texts: list[MaskedText]) -> Guesses:
    """The baseline: at every mask the five most frequent tokens of the training text."""
    counts = Counter(token for ids in training for token in ids)
    targets = all_targets(texts)
    best = torch.tensor([token for token, _ in counts.most_common(5)])
    return Guesses(best.expand(len(targets), 5), targets)


def sample(texts: list[MaskedText]) -> list[MaskedText]:
    """The first texts that together have SAMPLE_MASKS masks."""
    masks = 0
    for count, text in enumerate(texts, start=1):
        masks += len(text.targets)
        if masks >= SAMPLE_MASKS:
            return texts[:count]
    return texts


def write_sample(path: Path, texts: list[MaskedText]) -> None:
    """Writes one JSON object per text."""
    fields = ("text", "input_ids", "mask_positions", "targets")
    lines = [json.dumps({name: getattr(text, name) for name in fields}) for text in texts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def evaluate(folder: Path, text: Path, sample_path: Path | None, console: Console) -> None:
    """Prints the figures of the checkpoint in `folder`; writes the sample if a path is given.

    The weights are the stored float16 ones, computed with in float32.
    """
    model = ModernBertForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    training, heldout = split_passages(text, HELDOUT_SHARE, SEED)
    training_ids = [tokenizer.encode(t, add_special_tokens=False).ids for t in training]
    texts = masked_texts(tokenizer, heldout, training_ids)
    chosen = sample(texts)

    found = guesses(model, texts)
    unigram = unigram_guesses(training_ids, texts)
    repeated = torch.tensor([flag for masked in texts for flag in masked.repeated])
    in_sample = torch.arange(len(repeated)) < sum(len(masked.targets) for masked in chosen)
    table = Table("held-out masks", "number", "model", "top-1", "top-5")
    for label, keep in (
        ("all", torch.ones_like(repeated)),
        (f"outside runs of {RUN} tokens known from training", ~repeated),
        ("in the sample", in_sample),
    ):
        for name, result in (("ModernBERT", found.where(keep)), ("unigram", unigram.where(keep))):
            top1, top5 = f"{result.accuracy(1):.2%}", f"{result.accuracy(5):.2%}"
            table.add_row(label, str(int(keep.sum())), name, top1, top5)
    console.print(table)
    console.print(
        f"{model.num_parameters():,} parameters; {len(training)} training passages"
        f" ({sum(map(len, training_ids)):,} tokens), {len(heldout)} held out ({len(texts)} texts)"
    )
    if sample_path:
        write_sample(sample_path, chosen)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--text", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--sample", "sample_path", type=click.Path(dir_okay=False, path_type=Path))
def main(folder: Path, text: Path, sample_path: Path | None) -> None:
    """Measures the checkpoint in FOLDER on the held-out passages of the file it was trained on."""
    evaluate(folder, text, sample_path, Console())


if __name__ == "__main__":
    main()
