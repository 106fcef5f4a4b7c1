"""The reduced precisions of a CPU: how a model is converted to each."""

from __future__ import annotations

from functools import partial

from torch import nn

from mbert.errors import ExportError
from mbert.model.families.modernbert_config import ModelConfig

from .fuse import fuse, unfit_size
from .quantize import quantize, sample_activations
from .sample import Sample
from .verify import Reduce

# They are verified on text, and by the direction of the last hidden states.
REDUCED_ON_CPU = ("bf16", "int8")


def reduction(model: nn.Module, config: ModelConfig, precision: str, sample: Sample) -> Reduce:
    """Return what converts ``model`` (float32, of any task) to ``precision`` in place.

    Args:
        model: runs ``sample`` where the precision depends on what its layers see.
        config: of the model.
        precision: one of :data:`REDUCED_ON_CPU`.
        sample: text.

    Raises:
        ExportError: a size that the kernels do not take.
    """
    if (unfit := unfit_size(config)) is not None:
        raise ExportError(
            f"On the CPU {precision} needs sizes that are multiples of 16, but {unfit}. Export "
            "with --precision fp32."
        )
    if precision == "bf16":
        return partial(fuse, config=config, precision=precision)
    return partial(quantize, config=config, activations=sample_activations(model, sample))
