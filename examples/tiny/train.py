"""Trains a tiny ModernBERT masked language model from scratch on a CPU and measures it.

Reads a plain text file with one passage per line (README.md says how to get one), holds out whole
passages, and writes tokenizer, checkpoint and a sample of masked held-out text for tests.
"""

from __future__ import annotations

import json
import platform
import time
from itertools import islice
from pathlib import Path

import click
import torch
from corpus import (
    CLS,
    CLS_ID,
    HELDOUT_SHARE,
    IGNORE,
    MASK,
    PAD,
    PAD_ID,
    SEED,
    SEP,
    SEP_ID,
    UNK,
    Passage,
    mask_tokens,
    random_batches,
    split_passages,
    train_tokenizer,
)
from evaluate import evaluate
from rich.console import Console
from rich.progress import Progress
from tokenizers import Tokenizer
from torch import nn
from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

LENGTHS = (32, 64, 128, 256)  # ids in a training sequence
MASKED = 0.30  # share of the ordinary tokens

console = Console()


def new_model(vocab_size: int) -> ModernBertForMaskedLM:
    """A freshly initialised ModernBERT: 6 layers, global attention in layers 0 and 3."""
    config = ModernBertConfig(
        vocab_size=vocab_size,
        hidden_size=192,
        intermediate_size=288,
        num_hidden_layers=6,
        num_attention_heads=3,
        local_attention=64,
        global_attn_every_n_layers=3,
        max_position_embeddings=1024,
        initializer_range=0.05,  # 0.02 is meant for a hidden size of 768: too slow a start here
        pad_token_id=PAD_ID,
        bos_token_id=CLS_ID,
        eos_token_id=SEP_ID,
        cls_token_id=CLS_ID,
        sep_token_id=SEP_ID,
    )
    torch.manual_seed(SEED)
    return ModernBertForMaskedLM(config)


def masked_logits(
    model: ModernBertForMaskedLM, ids: torch.Tensor, at: torch.Tensor
) -> torch.Tensor:
    """Logits [masks, vocabulary] of the positions where `at` is true: only they are projected."""
    hidden = model.model(input_ids=ids).last_hidden_state
    logits: torch.Tensor = model.decoder(model.head(hidden[at]))
    return logits


def train(
    model: ModernBertForMaskedLM, passages: list[Passage], steps: int, tokens: int, lr: float
) -> None:
    """AdamW; linear warm-up over a twentieth of the steps, then linear decay to zero."""
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)
    warm_up = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm_up, (steps - i) / (steps - warm_up))
    )
    generator = torch.Generator().manual_seed(SEED)
    batches = random_batches(passages, tokens, LENGTHS, SEED)
    model.train()
    average = 0.0
    with Progress(console=console) as progress:
        task = progress.add_task("training", total=steps)
        for step, batch in enumerate(islice(batches, steps)):
            ids, labels = mask_tokens(batch, MASKED, generator)
            at = labels != IGNORE
            loss = nn.functional.cross_entropy(masked_logits(model, ids, at), labels[at])
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            average = loss.item() if step == 0 else 0.99 * average + 0.01 * loss.item()
            progress.update(task, advance=1, description=f"training, loss {average:.3f}")
            if (step + 1) % 500 == 0:
                progress.print(f"step {step + 1}: loss {average:.3f}")
    model.eval()


def save(model: ModernBertForMaskedLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the checkpoint: weights in float16, configuration, tokenizer."""
    model.half().save_pretrained(folder)
    names = {
        "unk_token": UNK,
        "cls_token": CLS,
        "sep_token": SEP,
        "pad_token": PAD,
        "mask_token": MASK,
    }
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=model.config.max_position_embeddings,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **names,
    ).save_pretrained(folder)
    write_json(folder / "special_tokens_map.json", names)


def write_json(path: Path, value: object) -> None:
    """Writes `value` as indented JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def processor() -> str:
    """The processor's name, for the record."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@click.command()
@click.option("--text", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--steps", default=3000, show_default=True)
@click.option("--tokens", default=2048, show_default=True, help="Tokens per step.")
@click.option("--lr", default=2.5e-3, show_default=True, help="Highest learning rate.")
@click.option("--vocab", default=4096, show_default=True, help="Size of the vocabulary.")
@click.option("--threads", default=2, show_default=True)
def main(
    text: Path, out: Path, steps: int, tokens: int, lr: float, vocab: int, threads: int
) -> None:
    """Trains on the passages in TEXT (a file), writes the checkpoint to OUT, measures it.

    A sample of masked held-out text goes into OUT as well (heldout.jsonl).
    """
    torch.set_num_threads(threads)
    training, _ = split_passages(text, HELDOUT_SHARE, SEED)
    tokenizer = train_tokenizer(training, vocab)
    model = new_model(vocab)
    start = time.perf_counter()
    train(model, [Passage.encode(tokenizer, passage) for passage in training], steps, tokens, lr)
    seconds = time.perf_counter() - start
    console.print(f"trained in {seconds:.0f} s on {processor()}, {threads} threads")
    out.mkdir(parents=True, exist_ok=True)
    save(model, tokenizer, out)
    evaluate(out, text, out / "heldout.jsonl", console)


if __name__ == "__main__":
    main()
