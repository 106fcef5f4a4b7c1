"""From a bundle to results. Needs numpy, onnxruntime and tokenizers; never torch."""

from .manifest import Manifest
from .model import Model, load
from .tasks.classification import LabelScore
from .tasks.fill_mask import TokenPrediction

__all__ = ["LabelScore", "Manifest", "Model", "TokenPrediction", "load"]
