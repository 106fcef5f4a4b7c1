"""How a multi-vector bundle makes tokens of queries and documents: its entry of the manifest."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

ROLES = ("query", "document")

# Inputs of a graph whose queries are expanded with tokens that nothing attends to, and their
# columns (docs/bundle.md).
UNSEEN_INPUTS = {"expansions": 2, "seen": 3}


@dataclass(frozen=True)
class Terms:
    """Of the texts of one role.

    Attributes:
        prompt: what is put in front of a text.
        prefix: id of a token that is put behind the first one; None: none.
        length: the most tokens, prefix and expansion included.
        skipped: ids of the tokens that get no vector.
    """

    prompt: str
    prefix: int | None
    length: int
    skipped: tuple[int, ...]


@dataclass(frozen=True)
class Expansion:
    """Tokens that fill up a query that is short.

    Attributes:
        token: their id.
        length: tokens that a query has at least.
        attended: whether the other tokens attend to them; if not, they attend to a query's own
            tokens and nothing attends to them.
    """

    token: int
    length: int
    attended: bool


@dataclass(frozen=True)
class LateInteraction:
    """Terms of both roles, and what follows from them.

    Attributes:
        query: of queries.
        document: of documents.
        expansion: of queries; None: they are not expanded.
        mean: whether a score is the mean over the query's vectors, not the sum.
    """

    query: Terms
    document: Terms
    expansion: Expansion | None
    mean: bool

    @classmethod
    def parse(cls, entry: dict[str, Any], vocab_size: int, longest: int) -> LateInteraction:
        """Read the entry of a manifest.

        Raises:
            KeyError, TypeError, ValueError: it is not one, or out of range.
        """
        terms = {}
        for role in ROLES:
            values = entry[role]
            skipped = tuple(values["skipped"])
            ids = [*skipped, *([] if values["prefix"] is None else [values["prefix"]])]
            _check(f"late_interaction.{role}", ids, vocab_size, values["length"], longest)
            if not isinstance(values["prompt"], str):
                raise ValueError(f"late_interaction.{role}.prompt is {values['prompt']!r}")
            terms[role] = Terms(values["prompt"], values["prefix"], values["length"], skipped)
        expansion = entry["expansion"]
        if expansion is not None:
            expansion = Expansion(**{key.name: expansion[key.name] for key in fields(Expansion)})
            ids, length = [expansion.token], expansion.length
            _check("late_interaction.expansion", ids, vocab_size, length, longest)
            if not isinstance(expansion.attended, bool):
                raise ValueError(f"late_interaction.expansion.attended is {expansion.attended!r}")
        if not isinstance(entry["mean"], bool):
            raise ValueError(f"late_interaction.mean is {entry['mean']!r}")
        return cls(terms["query"], terms["document"], expansion, entry["mean"])


def _check(what: str, ids: list[Any], vocab_size: int, length: Any, longest: int) -> None:
    for value, least, end in (*((i, 0, vocab_size) for i in ids), (length, 1, longest + 1)):
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < end:
            raise ValueError(f"{what} has {value!r}, expected an integer in [{least}, {end})")
