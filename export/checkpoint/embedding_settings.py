"""Sentence-transformers folders: the encoder with its chain, and the settings around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbert.errors import CheckpointError
from mbert.model.families.modernbert_config import POOLINGS, ModelConfig
from mbert.model.heads.module_spec import SETTINGS, ModuleSpec
from mbert.model.heads.sentence_modules import pooling_modes, scales_text

from .json_files import read_json

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
# Names that every folder of vectors knows, with nothing to put in front where it says nothing.
_PROMPTS = ("query", "document")


@dataclass(frozen=True)
class SentenceSettings:
    """How the folder's vectors are made and compared.

    Attributes:
        prompts: by name, what is put in front of a text.
        default_prompt: the name of the one that is used where none is asked for.
        similarity: one of ``SIMILARITIES``.
        dimensions: how many of a vector's first values are kept; None: all.
        normalized: whether the vectors have length 1.
        active: how many weights of a sparse vector are kept, the largest; None: all.
    """

    prompts: dict[str, str]
    default_prompt: str | None
    similarity: str
    dimensions: int | None
    normalized: bool
    active: int | None


def sentence_settings(
    folder: Path, modules: Sequence[ModuleSpec], default_similarity: str = "cosine"
) -> SentenceSettings:
    """Read config_sentence_transformers.json; defaults where there is none.

    Raises:
        CheckpointError: the file cannot be read, or a setting is not what it should be.
    """
    contents = read_json(folder / SETTINGS)
    prompts, default = prompts_of(contents, _PROMPTS)
    similarity = contents.get("similarity_fn_name") or default_similarity
    if similarity not in SIMILARITIES:
        raise _wrong(contents, "similarity_fn_name", f"one of {', '.join(SIMILARITIES)}")
    for key in ("truncate_dim", "max_active_dims"):
        number = contents.get(key)
        if number is not None and (type(number) is not int or number < 1):
            raise _wrong(contents, key, "an integer from 1 on")
    steps = [spec for spec in modules if spec.kind != "Dropout"]
    normalized = bool(steps) and scales_text(steps[-1])
    return SentenceSettings(
        prompts,
        default,
        similarity,
        contents.get("truncate_dim"),
        normalized,
        contents.get("max_active_dims"),
    )


def prompts_of(
    contents: Mapping[str, Any], names: Sequence[str] = ()
) -> tuple[dict[str, str], str | None]:
    """The prompts by name, and the name of the default, of config_sentence_transformers.json.

    Args:
        contents: of the file.
        names: those that are known with nothing to put in front where the file says nothing.

    Raises:
        CheckpointError: prompts that are no texts, or a default that is none of them.
    """
    named = contents.get("prompts") or {}
    if not isinstance(named, dict) or any(not isinstance(v, str | None) for v in named.values()):
        raise _wrong(contents, "prompts", "an object from names to texts")
    prompts = {name: text or "" for name, text in {**dict.fromkeys(names), **named}.items()}
    default = contents.get("default_prompt_name")
    if default is not None and default not in list(prompts):
        raise _wrong(contents, "default_prompt_name", f"one of {', '.join(prompts)}")
    return prompts, default


def _wrong(contents: Mapping[str, Any], key: str, expected: str) -> CheckpointError:
    return CheckpointError(f"{SETTINGS}: {key} is {contents[key]!r}; expected {expected}.")


def longest_sequence(folder: Path, config: ModelConfig, modules: Sequence[ModuleSpec]) -> int:
    """Tokens after which the folder's own library cuts a text, special tokens included.

    The transformer's max_seq_length, else the tokenizer's own; never more than the encoder takes.

    Raises:
        CheckpointError: it is no positive number.
    """
    asked = modules[0].settings.get("max_seq_length") if modules else None
    where = modules[0].config if modules else ""
    if asked is None:
        where = "tokenizer_config.json"
        asked = read_json(folder / where).get("model_max_length", config.max_position_embeddings)
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not asked >= 1:
        raise CheckpointError(
            f"{where}: the longest sequence is {asked!r}; expected a number from 1 on."
        )
    return int(min(asked, config.max_position_embeddings))


def pooling_of(modules: Sequence[ModuleSpec]) -> str | None:
    """How the hidden states of a checkpoint with these modules become one vector.

    None where more is done than the pooling by first token or mean that needs nothing but them. A
    checkpoint without modules gets the mean.

    Raises:
        CheckpointError: a pooling whose settings make no sense.
    """
    if not modules:
        return "mean"
    # The length of the vector is the caller's choice.
    pooling = [spec for spec in modules[1:] if spec.kind != "Dropout" and not scales_text(spec)]
    if [spec.kind for spec in pooling] != ["Pooling"] or not pooling[0].flag(
        "include_prompt", True
    ):
        return None
    modes = pooling_modes(pooling[0])
    return modes[0] if len(modes) == 1 and modes[0] in POOLINGS else None
