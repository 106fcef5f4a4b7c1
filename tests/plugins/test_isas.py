"""The list of instruction sets, compared with the library, the processor and the documents."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest

from mbert.errors import BackendError
from mbert.plugins import onnxruntime_library, supported_isas
from support.isas import ISAS, LISTED
from support.native import ROOT

NAMES = [isa.name for isa in LISTED if isa.name != "amx_emulated"]
# Not a flag in /proc/cpuinfo: the library asks Linux.
ASKED = {"tile_permission"}


def _section(path: Path) -> str:
    """Return the text under the heading "Instruction sets"."""
    found = re.search(r"^## Instruction sets\n(.*?)(?=^## |\Z)", path.read_text(), re.M | re.S)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("file", ["docs/operators.md", "plugins/README.md"])
def test_documents_name_every_instruction_set(file: str) -> None:
    named = re.findall(r"`([a-z][a-z0-9_]*)`", _section(ROOT / file))
    assert list(dict.fromkeys(named)) == NAMES


def test_parents_come_first() -> None:
    for i, isa in enumerate(LISTED):
        ancestors = {"none", "scalar", *(other.name for other in LISTED[:i])}
        assert {isa.parent, isa.attention} <= {*ancestors, isa.name}


def test_support_is_that_of_cpuinfo() -> None:
    """Linux's list of the processor's features is an independent reference."""
    flags = {*Path("/proc/cpuinfo").read_text().split(), *ASKED}
    is_arm = platform.machine() == "aarch64"
    expected = {"scalar"}
    for isa in LISTED:
        is_for_arm = isa.name.startswith("neon")
        if isa.parent in expected and is_for_arm == is_arm and isa.needs <= flags:
            expected.add(isa.name)
    assert {*ISAS} - {"amx_emulated"} == expected


def test_order_is_from_slow_to_fast() -> None:
    assert list(ISAS) == [isa.name for isa in LISTED if isa.name in ISAS]


def test_unusable_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.so"
    other.write_bytes(b"no library")
    monkeypatch.setenv("MBERT_ONNXRUNTIME_LIBRARY", str(other))
    with pytest.raises(BackendError, match=r"other\.so"):
        supported_isas()


def test_library_without_the_function_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.so"
    shutil.copy(onnxruntime_library(), other)
    other.write_bytes(other.read_bytes().replace(b"mbert_supported_isas", b"mbert_supported_isaz"))
    monkeypatch.setenv("MBERT_ONNXRUNTIME_LIBRARY", str(other))
    with pytest.raises(BackendError, match=r"other\.so.*mbert_supported_isas"):
        supported_isas()
