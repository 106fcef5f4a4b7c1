"""From a bundle to results. Needs numpy, onnxruntime, tokenizers and click; never torch."""

from .labels import LabelScore
from .loading import load
from .manifest import Manifest
from .model import Model
from .tasks.classification import Classifier
from .tasks.embedding import Embedder
from .tasks.fill_mask import MaskFiller, TokenPrediction
from .tasks.multi_vector import MultiVectorEmbedder, maxsim
from .tasks.question_answering import Answer, QuestionAnswerer
from .tasks.reranking import RankResult, Reranker
from .tasks.sparse_embedding import SparseEmbedder, SparseEmbedding, TokenWeight
from .tasks.token_classification import Entity, TokenClassifier

__all__ = [
    "Answer",
    "Classifier",
    "Embedder",
    "Entity",
    "LabelScore",
    "Manifest",
    "MaskFiller",
    "Model",
    "MultiVectorEmbedder",
    "QuestionAnswerer",
    "RankResult",
    "Reranker",
    "SparseEmbedder",
    "SparseEmbedding",
    "TokenClassifier",
    "TokenPrediction",
    "TokenWeight",
    "load",
    "maxsim",
]
