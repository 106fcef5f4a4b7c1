"""Checks of values read from JSON; they raise ValueError with the key and the value."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def natural(what: str, value: object, least: int) -> int:
    """Return ``value`` if it is an integer >= ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{what} is {value!r}, expected an integer >= {least}")
    return value


def flag(what: str, value: object) -> bool:
    """Return ``value`` if it is a boolean."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} is {value!r}, expected true or false")
    return value


def member(what: str, value: object, known: Collection[str]) -> str:
    """Return ``value`` if it is one of ``known``."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{what} is {value!r}, expected one of {', '.join(known)}")
    return value


def prompts(what: str, texts: object, default: object) -> None:
    """Raise unless ``texts`` maps names to strings and ``default`` is one of them or None."""
    if not isinstance(texts, Mapping) or not all(
        isinstance(text, str) for text in (*texts, *texts.values())
    ):
        raise ValueError(f"{what}.prompts is {texts!r}, expected strings by name")
    if default not in (None, *texts):
        raise ValueError(f"{what}.default_prompt is {default!r}, expected one of the prompts")
