"""Prompts: texts that a checkpoint wants in front of its inputs."""

from __future__ import annotations

import re
from typing import Protocol

from mbert.errors import InputError

from .tokenization import Text


class PromptText(str):
    """A prompt's text, never looked up as a name."""


class HasPrompts(Protocol):
    """Settings with prompts by name, and the name of the default one."""

    @property
    def prompts(self) -> dict[str, str]:
        """Texts by name."""
        ...

    @property
    def default_prompt(self) -> str | None:
        """Name of the prompt to use if the caller names none."""
        ...


def resolve_prompt(prompt: str | None, settings: HasPrompts | None) -> str:
    """Return the text to put in front of each input.

    Args:
        prompt: a name from the checkpoint, or the text itself (a :class:`PromptText` is always
            the text); None: the checkpoint's default.
        settings: from the manifest, if it has any.

    Raises:
        InputError: not a string, or a word that looks like a name and is not one.
    """
    known = settings.prompts if settings else {}
    if prompt is None:
        default = settings.default_prompt if settings else None
        return "" if default is None else known[default]
    if not isinstance(prompt, str):
        raise InputError(f"prompt is {prompt!r}; expected a name or a text.")
    if isinstance(prompt, PromptText):
        return prompt
    if prompt in known:
        return known[prompt]
    if re.fullmatch(r"[\w-]+", prompt):
        raise InputError(
            f"prompt is {prompt!r}; the bundle's prompts are {', '.join(known) or '(none)'}. To "
            "put a text in front, pass it whole, with the space that it ends in."
        )
    return prompt


def with_prompt(prompt: str, text: Text) -> Text:
    """Put the prompt in front of a text; in front of the first of a pair."""
    if not prompt:
        return text
    if isinstance(text, tuple) and text and isinstance(text[0], str):
        return (prompt + text[0], *text[1:])
    return prompt + text if isinstance(text, str) else text  # the tokenizer rejects the rest
