"""The licence, from the model card."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbert.export.checkpoint.model_card import license_of


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apache-2.0\n---\n# A model\n", "apache-2.0"),
        ("---\nlanguage: en\nlicense:   mit\ntags: [a]\n---\n", "mit"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: mit # checked\n---\n", "mit"),
        ('---\nlicense: "mit"\n---\n', "mit"),
        ("---\nlicense: 'mit'\n---\n", "mit"),
        # Several licences, none, and texts that only look like one.
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", None),
        ("---\nlicense:\nlanguage: en\n---\n", None),
        ("---\nlanguage: en\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("---\nlicense_name: own\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_is_what_the_front_matter_states(
    tmp_path: Path, card: str, expected: str | None
) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert license_of(tmp_path) == expected


def test_no_card_or_one_that_is_no_text_states_no_licence(tmp_path: Path) -> None:
    assert license_of(tmp_path) is None
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\xfe\n---\n")
    assert license_of(tmp_path) is None
