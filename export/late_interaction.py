"""What a multi-vector checkpoint says of queries and documents, in ids of its tokenizer."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from mbert.errors import CheckpointError
from mbert.model import Checkpoint
from mbert.model.json_files import read_json
from mbert.model.late_interaction import LateInteraction
from mbert.model.modules import SETTINGS
from mbert.model.sentence import longest_sequence
from mbert.runtime import late_interaction as runtime
from mbert.runtime.manifest import Limits

# By the name of a folder's similarity: whether the score is the mean over the query's vectors.
# Older folders name what two vectors are compared by.
_IS_MEAN = {"maxsim": False, "meanmaxsim": True, "MaxSim": False, "cosine": False, "dot": False}


def resolve(
    checkpoint: Checkpoint, tokenizer_file: Path, mask: int | None, limits: Limits
) -> runtime.LateInteraction | None:
    """Settle the terms of queries and documents for the manifest.

    Args:
        checkpoint: whose modules name them.
        tokenizer_file: the bundle's tokenizer.json.
        mask: id of the mask token; None: the tokenizer names none.
        limits: of the bundle.

    Returns:
        None where there is no tokenizer.

    Raises:
        CheckpointError: a prefix or an expansion that the vocabulary lacks, or an expansion that is
            longer than the bundle takes.
    """
    found = LateInteraction.of(checkpoint.modules)
    if not tokenizer_file.exists():
        return None
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    longest, vocabulary = limits.max_sequence_length, checkpoint.config.vocab_size
    settings = read_json(checkpoint.folder / SETTINGS)
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise CheckpointError(f"{SETTINGS}: prompts is {prompts!r}; expected an object of texts.")
    similarity = settings.get("similarity_fn_name") or "maxsim"
    if similarity not in _IS_MEAN:
        raise CheckpointError(
            f"{SETTINGS}: similarity_fn_name is {similarity!r}; mbert scores tokens' vectors by "
            f"{', '.join(_IS_MEAN)}."
        )
    usual = min(longest, longest_sequence(checkpoint.folder, checkpoint.config, checkpoint.modules))
    terms = {}
    for role in runtime.ROLES:
        given = getattr(found, role)
        prefix = None
        if given.prefix is not None:
            prefix = _id(tokenizer, given.prefix, f"{role}_prefix", vocabulary)
        # A word that is no token is never met.
        ids = (tokenizer.token_to_id(word) for word in given.skipped)
        skipped = tuple(sorted({i for i in ids if i is not None and i < vocabulary}))
        prompt = prompts.get(role) or ""
        if not isinstance(prompt, str):
            raise CheckpointError(f"{SETTINGS}: the prompt {role} is {prompt!r}; expected a text.")
        # A prompt may repeat the prefix, which is a token of its own here.
        prompt = prompt.removeprefix(given.prefix or "")
        length = min(given.length or usual, longest)
        terms[role] = runtime.Terms(prompt, prefix, length, skipped)
    expansion = None
    if found.expansion is not None:
        if found.expansion.length > longest:
            raise CheckpointError(
                f"Queries are expanded to {found.expansion.length} tokens; the bundle takes up to "
                f"{longest}. Export with a larger --max-sequence-length."
            )
        if found.expansion.token is not None:
            mask = _id(tokenizer, found.expansion.token, "query_expansion", vocabulary)
        if mask is None:
            raise CheckpointError(
                "Queries are expanded with the mask token, and the tokenizer names none. Name it "
                "in tokenizer_config.json (mask_token)."
            )
        expansion = runtime.Expansion(mask, found.expansion.length, found.expansion.attended)
    mean = _IS_MEAN[similarity]
    return runtime.LateInteraction(terms["query"], terms["document"], expansion, mean)


def _id(tokenizer: Tokenizer, token: str, key: str, vocab_size: int) -> int:
    token_id: int | None = tokenizer.token_to_id(token)
    if token_id is None or token_id >= vocab_size:
        raise CheckpointError(
            f"{key} is {token!r}, which is no token of tokenizer.json with a row in the embedding. "
            "Add both, or set it to an empty text."
        )
    return token_id
