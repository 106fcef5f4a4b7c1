"""Read how the vectors of an embedding checkpoint are made and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mbert.runtime.similarity import SIMILARITIES
from mbert.runtime.tasks.embedding import EmbeddingSettings

from .modules_json import IGNORED, ModuleSpec
from .sentence_modules import normalizes_sentence
from .sentence_settings import prompts_of, read_settings, unsuited

# sentence-transformers gives every embedding model these prompts, empty unless set.
_PROMPTS = ("query", "document")


def embedding_settings(
    folder: Path, modules: Sequence[ModuleSpec], default_similarity: str
) -> EmbeddingSettings:
    """Read the embedding settings of a checkpoint.

    Args:
        folder: of the checkpoint.
        modules: what modules.json lists.
        default_similarity: one of ``SIMILARITIES``, for a checkpoint that names none.

    Raises:
        CheckpointError: the file cannot be read, or a setting has an unexpected value.
    """
    settings = read_settings(folder)
    prompts, default_prompt = prompts_of(settings, _PROMPTS)
    similarity = settings.get("similarity_fn_name") or default_similarity
    if similarity not in SIMILARITIES:
        raise unsuited(settings, "similarity_fn_name", f"one of {', '.join(SIMILARITIES)}")
    for key in ("truncate_dim", "max_active_dims"):
        number = settings.get(key)
        if number is not None and (type(number) is not int or number < 1):
            raise unsuited(settings, key, "a positive integer")
    computed = [spec for spec in modules if spec.kind not in IGNORED]
    return EmbeddingSettings(
        prompts=prompts,
        default_prompt=default_prompt,
        similarity=similarity,
        dimensions=settings.get("truncate_dim"),
        normalized=bool(computed) and normalizes_sentence(computed[-1]),
        active=settings.get("max_active_dims"),
    )
