"""Text, tokenizer and masking of the tiny ModernBERT: everything that happens before the model."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

UNK, CLS, SEP, PAD, MASK = SPECIAL_TOKENS = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
UNK_ID, CLS_ID, SEP_ID, PAD_ID, MASK_ID = range(len(SPECIAL_TOKENS))
SEED = 0
HELDOUT_SHARE = 0.05
IGNORE = -100  # the label of a token that is not to be predicted


def split_passages(path: Path, share: float, seed: int) -> tuple[list[str], list[str]]:
    """Reads one passage per line; returns the training passages and the held-out ones."""
    passages = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    passages = [passage for passage in passages if passage]
    order = list(range(len(passages)))
    random.Random(seed).shuffle(order)
    heldout = set(order[: max(1, round(share * len(passages)))])
    training = [text for i, text in enumerate(passages) if i not in heldout]
    return training, [passages[i] for i in sorted(heldout)]


def sentences(text: str) -> list[str]:
    """Splits at the spaces after `.`, `:`, `;`, `?` and `!`."""
    return re.split(r"(?<=[.:;?!]) ", text)


def train_tokenizer(passages: list[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer with ModernBERT's special tokens, learned from `passages`."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNK))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    # [MASK] takes the space before it: the token it stands for brings its own.
    special = [AddedToken(token, special=True, lstrip=token == MASK) for token in SPECIAL_TOKENS]
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(passages, trainer)
    tokenizer.post_processor = TemplateProcessing(
        single=f"{CLS}:0 $A:0 {SEP}:0",
        pair=f"{CLS}:0 $A:0 {SEP}:0 $B:1 {SEP}:1",
        special_tokens=[(CLS, CLS_ID), (SEP, SEP_ID)],
    )
    return tokenizer


@dataclass
class Passage:
    """A tokenized passage and the places where its sentences begin and end."""

    ids: list[int]
    # Per sentence: the ids of its first word as they are at the beginning of a text (without the
    # space before it), and the offset in `ids` of what follows that word.
    openings: list[tuple[list[int], int]]
    ends: list[int]

    @classmethod
    def encode(cls, tokenizer: Tokenizer, text: str) -> Passage:
        """Tokenizes `text` sentence by sentence (byte-level BPE never merges across a space)."""

        def ids_of(text: str) -> list[int]:
            return tokenizer.encode(text, add_special_tokens=False).ids

        passage = cls([], [], [])
        for sentence in sentences(text):
            space = " " if passage.ids else ""
            word = sentence.split(" ", 1)[0]
            rest = len(passage.ids) + len(ids_of(space + word))
            passage.openings.append((ids_of(word), rest))
            passage.ids += ids_of(space + sentence)
            passage.ends.append(len(passage.ids))
        return passage

    def crop(self, size: int, rng: random.Random) -> list[int]:
        """A random run of `size` ids: from the start of a sentence, to its end, or anywhere."""
        kind = rng.randrange(3)
        if kind == 0:
            fitting = [o for o in self.openings if len(o[0]) + len(self.ids) - o[1] >= size]
            word, rest = rng.choice(fitting)
            return (word + self.ids[rest : rest + size])[:size]
        if kind == 1:
            start = rng.choice([end for end in self.ends if end >= size]) - size
        else:
            start = rng.randint(0, len(self.ids) - size)
        return self.ids[start : start + size]


def random_batches(
    passages: list[Passage], tokens: int, lengths: tuple[int, ...], seed: int
) -> Iterator[torch.Tensor]:
    """Endless batches of `tokens` ids, cropped from passages drawn in proportion to their length.

    All sequences of a batch have one length, so that there is no padding; the length varies from
    batch to batch, so that the model learns from short texts as well as from long ones.
    """
    rng = random.Random(seed)
    pools = {n: [p for p in passages if len(p.ids) >= n - 2] for n in lengths}
    weights = {n: [len(p.ids) for p in pool] for n, pool in pools.items()}
    while True:
        n = rng.choice(lengths)
        drawn = rng.choices(pools[n], weights[n], k=tokens // n)
        yield torch.tensor([[CLS_ID, *p.crop(n - 2, rng), SEP_ID] for p in drawn])


def mask_tokens(
    ids: torch.Tensor, share: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Puts [MASK] in place of `share` of the ordinary tokens; returns the masked ids and labels."""
    ordinary = ids >= len(SPECIAL_TOKENS)
    chosen = ordinary & (torch.rand(ids.shape, generator=generator) < share)
    return ids.masked_fill(chosen, MASK_ID), ids.masked_fill(~chosen, IGNORE)


def evaluation_texts(tokenizer: Tokenizer, passages: list[str], length: int) -> list[str]:
    """Every sentence once, in texts of at most `length` ids (more if one sentence is longer)."""
    texts = []
    for passage in passages:
        text = ""
        for sentence in sentences(passage):
            longer = f"{text} {sentence}" if text else sentence
            if text and len(tokenizer.encode(longer).ids) > length:
                texts.append(text)
                longer = sentence
            text = longer
        texts.append(text)
    return texts
