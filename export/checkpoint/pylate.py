"""PyLate's folders: their settings, put where sentence-transformers' MultiVectorEncoder has them.

PyLate lists a transformer and projections in modules.json and keeps the rest in
config_sentence_transformers.json; the mask and the norm are in its code.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mbert.model.heads.module_spec import MASK, MODULES, SETTINGS, ModuleSpec
from mbert.model.heads.sentence_modules import TOKENS
from mbert.runtime.tasks.multi_vector import ROLES

from .json_files import read_json

# Its defaults (pylate.models.ColBERT), for what a folder leaves out.
_PREFIXES = {"query": "[Q] ", "document": "[D] "}
_LENGTHS = {"query": 32, "document": 180}
_DENSE = "pylate.models.Dense.Dense"


def is_pylate(folder: Path, modules: Sequence[ModuleSpec]) -> bool:
    """Whether PyLate wrote the folder."""
    settings = read_json(folder / SETTINGS)
    return settings.get("model_type") == "ColBERT" or any(spec.kind == _DENSE for spec in modules)


def translated(folder: Path, modules: Sequence[ModuleSpec]) -> tuple[ModuleSpec, ...]:
    """The modules of a PyLate folder as MultiVectorEncoder would have them."""
    settings = read_json(folder / SETTINGS)
    transformer, *rest = modules
    # There is nothing but tokens' vectors, whatever a projection calls what it reads.
    names = {"module_input_name": TOKENS, "module_output_name": TOKENS}
    projections = [
        replace(spec, kind="Dense", settings={**spec.settings, **names})
        if spec.kind in ("Dense", _DENSE)
        else spec
        for spec in rest
    ]
    skiplist = _set(settings, "skiplist_words", list(string.punctuation))
    return (
        replace(
            transformer,
            settings={**transformer.settings, **_of_transformer(settings)},
            config=SETTINGS,
        ),
        *projections,
        ModuleSpec(MASK, "", SETTINGS, {"skiplist_words": skiplist}),
        ModuleSpec("Normalize", "", MODULES, names),
    )


def _of_transformer(settings: Mapping[str, Any]) -> dict[str, Any]:
    lengths = {role: _set(settings, f"{role}_length", _LENGTHS[role]) for role in ROLES}
    expansion = {
        "strategy": "fixed",
        "attend": _set(settings, "attend_to_expansion_tokens", False),
        "length": lengths["query"],
    }
    return {
        **{f"{role}_prefix": _set(settings, f"{role}_prefix", _PREFIXES[role]) for role in ROLES},
        **{f"{role}_length": length for role, length in lengths.items()},
        "query_expansion": expansion if _set(settings, "do_query_expansion", True) else None,
    }


def _set(settings: Mapping[str, Any], key: str, default: object) -> Any:
    """A setting, or PyLate's default where it is null or missing."""
    value = settings.get(key)
    return default if value is None else value
