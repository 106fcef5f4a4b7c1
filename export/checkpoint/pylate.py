"""Translate a PyLate folder to the modules of sentence-transformers' MultiVectorEncoder.

PyLate lists a transformer and projections in modules.json and keeps the rest in
config_sentence_transformers.json. The mask and the norm are in its code, not in the folder.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mbert.model.heads.sentence_modules import TOKENS
from mbert.runtime.tasks.multi_vector import ROLES

from .modules_json import MASK, MODULES, ModuleSpec
from .sentence_settings import SETTINGS, read_settings

# Defaults of pylate.models.ColBERT, for keys that a folder leaves out.
_PREFIXES = {"query": "[Q] ", "document": "[D] "}
_LENGTHS = {"query": 32, "document": 180}
_DENSE = "pylate.models.Dense.Dense"


def is_pylate(folder: Path, modules: Sequence[ModuleSpec]) -> bool:
    """Return whether PyLate wrote the folder."""
    settings = read_settings(folder)
    return settings.get("model_type") == "ColBERT" or any(spec.kind == _DENSE for spec in modules)


def translate(folder: Path, modules: Sequence[ModuleSpec]) -> tuple[ModuleSpec, ...]:
    """Return the modules of a PyLate folder as MultiVectorEncoder would save them."""
    settings = read_settings(folder)
    transformer, *rest = modules
    # PyLate's projections read and write token vectors, under any names.
    names = {"module_input_name": TOKENS, "module_output_name": TOKENS}
    projections = [
        replace(spec, kind="Dense", settings={**spec.settings, **names})
        if spec.kind in ("Dense", _DENSE)
        else spec
        for spec in rest
    ]
    skiplist = _setting(settings, "skiplist_words", list(string.punctuation))
    return (
        replace(
            transformer,
            settings={**transformer.settings, **_transformer_settings(settings)},
            config=SETTINGS,
        ),
        *projections,
        ModuleSpec(MASK, "", SETTINGS, {"skiplist_words": skiplist}),
        ModuleSpec("Normalize", "", MODULES, names),
    )


def _transformer_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    lengths = {role: _setting(settings, f"{role}_length", _LENGTHS[role]) for role in ROLES}
    expansion = {
        "strategy": "fixed",
        "attend": _setting(settings, "attend_to_expansion_tokens", False),
        "length": lengths["query"],
    }
    return {
        **{
            f"{role}_prefix": _setting(settings, f"{role}_prefix", _PREFIXES[role])
            for role in ROLES
        },
        **{f"{role}_length": length for role, length in lengths.items()},
        "query_expansion": expansion if _setting(settings, "do_query_expansion", True) else None,
    }


def _setting(settings: Mapping[str, Any], key: str, default: object) -> Any:
    """Return a setting, or PyLate's default if it is null or missing."""
    value = settings.get(key)
    return default if value is None else value
