"""The models that some peers load: made from the checkpoint once, and kept with ``--keep``."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mbert.errors import BackendError
from mbert.runtime.bundle import file_sha256

from .programs import CHECKPOINT

# What the models depend on beside the checkpoint.
_PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")


def make_padded_onnx(checkpoint: str, architecture: str | None, folder: Path) -> None:
    """Export transformers' class ``architecture`` to ``folder``/model.onnx, float32.

    Inputs ``input_ids`` and ``attention_mask``, int64 [batch, length], both dynamic; one output,
    see :meth:`mbert.bench.programs.padded.Padded.compute`.

    The eager attention is exported: that of sdpa brings a guard against rows of NaN, which costs
    ONNX Runtime a pass over the scores. Opset 18, since ONNX Runtime does not compute the rotary
    embeddings of opset 23 for more than one sequence as they are exported.
    """
    import torch

    from .programs.pytorch import load_model, output_of

    model = load_model(checkpoint, architecture, "eager")

    class OneOutput(torch.nn.Module):
        """The tensor alone: the class around it says nothing to a graph."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            output = self.model(input_ids=input_ids, attention_mask=attention_mask)
            return output_of(output)

    input_ids = torch.full((2, 24), 5)  # two of each: a dimension of one would become a constant
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 20:] = 0
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    program = torch.onnx.export(
        OneOutput().eval(),
        (input_ids, attention_mask),
        dynamo=True,
        opset_version=18,
        input_names=["input_ids", "attention_mask"],
        dynamic_shapes=(shape, shape),
        verbose=False,
    )
    assert program is not None
    program.save(folder / "model.onnx", external_data=True)


def make_int8_onnx(padded: str, architecture: str | None, folder: Path) -> None:
    """Quantise the padded export as ONNX Runtime's own tool does.

    Weights of the linear layers int8 per output channel, activations uint8 per tensor, at run time.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        padded,
        folder / "model.onnx",
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )


def make_openvino(padded: str, architecture: str | None, folder: Path) -> None:
    """Convert the padded export to OpenVINO's own format, float32."""
    openvino = _import("openvino")
    openvino.save_model(
        openvino.convert_model(padded), folder / "model.xml", compress_to_fp16=False
    )


def make_int8_openvino(converted: str, architecture: str | None, folder: Path) -> None:
    """Compress the weights to int8 per channel; OpenVINO quantises activations where it pays."""
    openvino, nncf = _import("openvino"), _import("nncf")
    model = nncf.compress_weights(
        openvino.Core().read_model(converted), mode=nncf.CompressWeightsMode.INT8_SYM
    )
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


@dataclass(frozen=True)
class Maker:
    """How a model is made: ``make(source, architecture, folder)`` writes ``file`` into the folder.

    ``source`` is :data:`mbert.bench.programs.CHECKPOINT` or another key of :data:`MAKERS`; its path
    is what ``make`` gets.
    """

    source: str
    make: Callable[[str, str | None, Path], None]
    file: str


MAKERS = {
    "padded-onnx": Maker(CHECKPOINT, make_padded_onnx, "model.onnx"),
    "padded-onnx-int8": Maker("padded-onnx", make_int8_onnx, "model.onnx"),
    "openvino": Maker("padded-onnx", make_openvino, "model.xml"),
    "openvino-int8": Maker("openvino", make_int8_openvino, "model.xml"),
}


class PeerModels:
    """The models made from one checkpoint."""

    def __init__(
        self,
        checkpoint: Path,
        architecture: str | None,
        folder: Path,
        make: Callable[[str, str, str | None, Path], None],
    ) -> None:
        """Make nothing yet.

        Args:
            checkpoint: the folder.
            architecture: transformers' class that is exported.
            folder: where they are; what an earlier run made there of this very checkpoint with the
                same libraries is taken.
            make: calls :func:`make_peer_model`, in another process.
        """
        self._checkpoint = checkpoint
        self._architecture = architecture
        self._folder = folder.resolve()  # the processes work in another directory
        self._make = make

    def path(self, name: str) -> Path:
        """Return the path of the model ``name``, a key of :data:`MAKERS`; make it if need be.

        Raises:
            MbertError: a library is missing, or the model cannot be made.
        """
        if name == CHECKPOINT:
            return self._checkpoint
        maker = MAKERS[name]
        folder = self._folder / f"{name}-{self._fingerprint}"
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            self._make(name, str(self.path(maker.source)), self._architecture, unfinished)
            unfinished.rename(folder)
        return folder / maker.file

    @cached_property
    def _fingerprint(self) -> str:
        parts = [str(self._architecture)]
        for path in sorted(self._checkpoint.iterdir()):
            if path.name == "config.json" or path.suffix == ".safetensors":
                parts.append(file_sha256(path))
        parts += [f"{package} {_version(package)}" for package in _PACKAGES]
        parts.append(file_sha256(Path(__file__)))  # how they are made
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def make_peer_model(name: str, source: str, architecture: str | None, folder: Path) -> None:
    """Make the model ``name`` of a source in this process, in a new folder; see :class:`Maker`.

    Raises:
        MbertError: a library is missing, or the source cannot be loaded.
    """
    folder.mkdir(parents=True)
    MAKERS[name].make(source, architecture, folder)


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendError(
            f"The OpenVINO side needs the Python module {module}; {error.name} is missing. Install "
            "it with `pip install 'mbert[bench]'`."
        ) from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
