"""A small tokenizer for the tests' checkpoints, and sentences for it."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

# By id; pad, cls and sep have the ids of SMALL.
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")
PAD, CLS, SEP, MASK, UNK = range(5)

SENTENCES = (
    "The river rose in the night and took the old bridge with it.",
    "A baker sells bread, and the mill by the river grinds his flour.",
    "Rain fell on the hills for three days; then the sun came back.",
    "Who built the bridge? The miller and his two sons did, in one summer.",
    "Bread is made of flour, water, salt and time.",
    "The sons of the baker swim in the river when the sun is out.",
)

# All kinds of texts that users send.
TEXTS = (
    *SENTENCES,
    "Мельник построил мост. 面包师住在河边。パン屋の息子たち。 강이 밤에 불었다.",
    "👩‍👩‍👧 took 🚲 over the bridge 🌉🇫🇷, naïvely: cafe\u0301 café",
    "הנהר עלה בלילה, and النهر ارتفع في الليل.",
    "tab\tnew\nline\r\nnull\x00bell\x07escape\x1b[0m del\x7f \u200b\u2028\ufeff",
    "[CLS] the miller [SEP] the [MASK] baker [PAD][SEP]",
    "  two  spaces   and\u00a0others\u3000end  ",
    "don't (well-known) U.S.A. 3.14% x@y.org",
    "",
    " ",
    " \t\n  ",
    "x",
    "the river and the mill " * 60,
)

LONG_TEXT = "the river and the mill " * 2000  # 10,000 words


def add_tokenizer(folder: Path, vocab_size: int = 500) -> Path:
    """Write tokenizer.json and tokenizer_config.json of a ModernBERT checkpoint."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special: list[str | AddedToken] = [
        AddedToken(token, special=True, lstrip=token == "[MASK]") for token in SPECIAL_TOKENS
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}
    (folder / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")
    return folder
