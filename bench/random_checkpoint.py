"""Checkpoints with random weights: speed does not depend on what the weights are.

base and large have the shapes of the published models; tiny is for trying things out.
"""

from __future__ import annotations

from pathlib import Path

from mbert.errors import BackendError, InputError

SEED = 0

# Everything else is as the published configuration class has it.
SHAPES = {
    "tiny": {
        "num_hidden_layers": 7,
        "hidden_size": 256,
        "intermediate_size": 384,
        "num_attention_heads": 4,
    },
    "base": {
        "num_hidden_layers": 22,
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_attention_heads": 12,
    },
    "large": {
        "num_hidden_layers": 28,
        "hidden_size": 1024,
        "intermediate_size": 2624,
        "num_attention_heads": 16,
    },
}


def places(shape: str, folder: Path) -> tuple[Path, Path]:
    """Name the checkpoint and the bundle that :func:`make_random` writes into ``folder``."""
    return folder / f"random-{shape}", folder / f"random-{shape}-bundle"


def make_random(shape: str, folder: Path) -> None:
    """Write a checkpoint as transformers initialises it, and a bundle of its hidden states.

    Args:
        shape: a key of :data:`SHAPES`.
        folder: must hold neither yet.

    Raises:
        InputError: something is there already.
        BackendError: torch or transformers is missing.
        ExportError: see :func:`mbert.convert`.
    """
    checkpoint, bundle = places(shape, folder)
    for path in (checkpoint, bundle):
        if path.exists():
            raise InputError(
                f"{path} exists already. Measure it with `mbert-bench run {bundle} --checkpoint "
                f"{checkpoint}`, or choose another folder."
            )
    try:
        import torch
        import transformers
    except ImportError as error:
        raise BackendError(
            f"A random checkpoint needs torch and transformers; {error.name} is missing. Install "
            "them with `pip install 'mbert[bench]'`."
        ) from error
    from mbert.export import convert

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(SEED)
    model = transformers.ModernBertModel(transformers.ModernBertConfig(**SHAPES[shape]))
    model.save_pretrained(checkpoint)
    del model
    convert(checkpoint, bundle)
