"""What a sentence-transformers folder says of its transformer: how texts become tokens."""

from __future__ import annotations

from collections.abc import Sequence

from mbert.errors import CheckpointError
from mbert.model.heads.module_spec import (
    MASK,
    MLM_TRANSFORMER,
    MODULES,
    TRANSFORMER,
    ModuleSpec,
)
from mbert.runtime.tasks.multi_vector import ROLES

# Arguments for what transformers loads and calls, by older and by newer names.
_ARGUMENTS = (
    "model_args",
    "model_kwargs",
    "tokenizer_args",
    "processor_kwargs",
    "config_args",
    "config_kwargs",
    "processing_kwargs",
)
_KNOWN = (
    "max_seq_length",
    "do_lower_case",
    "transformer_task",
    "modality_config",
    "module_output_name",
    "unpad_inputs",
    *_ARGUMENTS,
)
_OF_ROLES = (
    "query_expansion",
    *(f"{role}_{key}" for role in ROLES for key in ("prefix", "length")),
)


def check_transformer(task: str, modules: Sequence[ModuleSpec]) -> None:
    """Refuse a transformer that makes other tokens of a text than the tokenizer, or other weights.

    What it computes of them (``transformer_task``) is for the module of the task to check.

    Raises:
        CheckpointError: another class, or a setting that is not known; it is named.
    """
    spec = modules[0]
    if spec.kind not in (TRANSFORMER, MLM_TRANSFORMER):
        raise CheckpointError(f"{MODULES}: {spec.kind} is not a module that mbert computes.")
    has_roles = task == "multi-vector" or any(other.kind == MASK for other in modules)
    spec.need_only((*_KNOWN, *_OF_ROLES) if has_roles else _KNOWN)
    spec.need_one_of("do_lower_case", [False])
    for key in _ARGUMENTS:
        spec.need_one_of(key, [{}])
