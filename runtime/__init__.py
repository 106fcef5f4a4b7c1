"""From a bundle to results. Needs numpy, onnxruntime and tokenizers; never torch."""

from .manifest import Manifest
from .model import Model, load
from .tasks.classification import LabelScore
from .tasks.fill_mask import TokenPrediction
from .tasks.question_answering import Answer
from .tasks.ranking import RankResult
from .tasks.sparse_embedding import SparseEmbedding, TokenWeight
from .tasks.token_classification import Entity

__all__ = [
    "Answer",
    "Entity",
    "LabelScore",
    "Manifest",
    "Model",
    "RankResult",
    "SparseEmbedding",
    "TokenPrediction",
    "TokenWeight",
    "load",
]
