"""PyTorch: transformers' own class for the task, padded batches, SDPA attention, float32."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from mbert.errors import BackendError, CheckpointError

from . import Source
from .padded import Padded

try:
    import torch
    import transformers
except ImportError as error:
    raise BackendError(
        f"The PyTorch side needs torch and transformers; {error.name} is missing. Install them "
        "with `pip install 'mbert[bench]'`."
    ) from error


class PyTorch(Padded):
    """A transformers model on padded batches."""

    def __init__(self, model: Any, rows: str) -> None:
        """Use :func:`open_program`."""
        super().__init__(rows)
        self._model = model

    @property
    def versions(self) -> dict[str, str]:
        """Of PyTorch and transformers."""
        return {"torch": torch.__version__, "transformers": transformers.__version__}

    @torch.inference_mode()
    def compute(self, input_ids: NDArray[Any], attention_mask: NDArray[Any]) -> NDArray[Any]:
        """Call the model."""
        output = self._model(
            input_ids=torch.from_numpy(input_ids), attention_mask=torch.from_numpy(attention_mask)
        )
        values: NDArray[Any] = output_of(output).numpy()
        return values


def output_of(output: Any) -> torch.Tensor:
    """Take the tensor of a class's output: see :meth:`Padded.compute`."""
    if hasattr(output, "start_logits"):
        return torch.stack((output.start_logits, output.end_logits), -1)
    values: torch.Tensor = output[0]
    return values


def load_model(path: str, architecture: str | None, attention: str) -> Any:
    """Load a checkpoint folder into a class of transformers, float32.

    Args:
        path: the folder.
        architecture: name of the class.
        attention: transformers' name of an implementation.

    Raises:
        BackendError: transformers has no such class.
        CheckpointError: transformers cannot load the folder.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if architecture is None:
        raise BackendError(
            "No class of transformers computes what this bundle does. Measure it without --against."
        )
    try:
        model_class = getattr(transformers, architecture)
    except AttributeError:
        raise BackendError(
            f"transformers {transformers.__version__} has no {architecture}; ModernBERT came with "
            "4.48. Install a newer one with `pip install 'mbert[bench]'`."
        ) from None
    try:
        model = model_class.from_pretrained(path, attn_implementation=attention)
    except Exception as error:  # safetensors, json and transformers each raise their own
        raise CheckpointError(
            f"transformers cannot load {path} ({type(error).__name__}: {error}). "
            "--checkpoint takes the folder that holds config.json and model.safetensors."
        ) from error
    # The stored type may be float16; every program computes in float32 here.
    return model.float().eval()


def open_program(source: Source) -> PyTorch:
    """Load a checkpoint folder.

    Raises:
        MbertError: see :func:`load_model`.
    """
    torch.set_num_threads(source.threads)
    return PyTorch(load_model(source.path, source.architecture, "sdpa"), source.rows)
