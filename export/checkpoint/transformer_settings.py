"""Check the settings of a sentence-transformers ``Transformer``: how texts become tokens."""

from __future__ import annotations

from collections.abc import Sequence

from mbert.errors import CheckpointError
from mbert.runtime.tasks.multi_vector import ROLES

from .modules_json import MASK, MLM_TRANSFORMER, MODULES, TRANSFORMER, ModuleSpec

# Arguments for transformers' loading and calling, in older and in newer folders.
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
_ROLE_KEYS = (
    "query_expansion",
    *(f"{role}_{key}" for role in ROLES for key in ("prefix", "length")),
)


def check_transformer(modules: Sequence[ModuleSpec], has_roles: bool) -> None:
    """Raise unless the first module is a transformer whose settings mbert follows.

    Refuses settings that change a text's tokens or the weights. ``transformer_task`` is left to
    the task of the export.

    Args:
        modules: what modules.json lists.
        has_roles: whether settings of queries and documents are known to the task; they are also
            known if the modules include a MultiVectorMask.

    Raises:
        CheckpointError: another class, or a setting that is not known; it is named.
    """
    spec = modules[0]
    if spec.kind not in (TRANSFORMER, MLM_TRANSFORMER):
        raise CheckpointError(f"{MODULES}: {spec.kind} is not a module that mbert computes.")
    has_roles = has_roles or any(other.kind == MASK for other in modules)
    spec.need_only((*_KNOWN, *_ROLE_KEYS) if has_roles else _KNOWN)
    spec.need_one_of("do_lower_case", [False])
    for key in _ARGUMENTS:
        spec.need_one_of(key, [{}])
