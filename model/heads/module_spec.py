"""A module of a sentence-transformers folder, and the settings that it was saved with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mbert.errors import CheckpointError

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
TRANSFORMER = "Transformer"
# As older releases call the one before SPLADE's pooling.
MLM_TRANSFORMER = f"MLM{TRANSFORMER}"
MASK = "MultiVectorMask"
# Of a pooling's output, by the newer and the older name.
WIDTH_KEYS = ("embedding_dimension", "word_embedding_dimension")


@dataclass(frozen=True)
class ModuleSpec:
    """One entry of modules.json.

    Attributes:
        kind: the class's last name ("Pooling"); the whole dotted name where it is not
            sentence-transformers' own.
        path: its folder within the checkpoint; "" is the checkpoint's own.
        config: the file that holds its settings, within the checkpoint.
        settings: what is in that file; empty where there is none.
    """

    kind: str
    path: str
    config: str
    settings: Mapping[str, Any]

    def flag(self, key: str, default: bool) -> bool:
        """Read a setting that is true or false."""
        return bool(self._checked(key, default, bool, "true or false"))

    def number(self, key: str) -> int:
        """Read a setting that is an integer from 1 on, and has to be there."""
        value = self._checked(key, None, int, "an integer from 1 on")
        if value < 1:
            raise self.unsuited(key, "an integer from 1 on")
        return int(value)

    def text(self, key: str, default: str) -> str:
        """Read a setting that is a text; null stands for ``default``."""
        if self.settings.get(key) is None:
            return default
        return str(self._checked(key, default, str, "a text"))

    def need_one_of(self, key: str, plain: Sequence[object]) -> None:
        """Refuse a setting that is there, not null, and none of ``plain``."""
        if self.settings.get(key) not in (None, *plain):
            raise self.unsuited(key, " or ".join(("nothing", *map(repr, plain))))

    def need_only(self, known: Collection[str]) -> None:
        """Refuse settings that would change the result in a way that is not known."""
        for key in self.settings:
            if key not in known:
                raise CheckpointError(
                    f"{self.config}: {self.kind} has the setting {key}; mbert knows "
                    f"{', '.join(known) or 'none'}."
                )

    def unsuited(self, key: str, expected: str) -> CheckpointError:
        """Say that a setting is not what is expected."""
        return CheckpointError(
            f"{self.config}: {key} of {self.kind} is {self.settings.get(key)!r}; expected "
            f"{expected}."
        )

    def _checked(self, key: str, default: object, kind: type, expected: str) -> Any:
        value = self.settings.get(key, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.unsuited(key, expected)
        return value
