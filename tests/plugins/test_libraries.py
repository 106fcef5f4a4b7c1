"""Finding the operator libraries, and reading their version without loading them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import mbert
from mbert.errors import BackendError
from mbert.plugins import (
    library_version,
    onnxruntime_cuda_library,
    onnxruntime_library,
    tensorrt_library,
)
from support.toolchain import needs_nvcc

LIBRARIES = [
    pytest.param(onnxruntime_library, "MBERT_ONNXRUNTIME_LIBRARY", id="onnxruntime"),
    pytest.param(
        onnxruntime_cuda_library,
        "MBERT_ONNXRUNTIME_CUDA_LIBRARY",
        id="onnxruntime_cuda",
        marks=needs_nvcc,
    ),
    pytest.param(tensorrt_library, "MBERT_TENSORRT_LIBRARY", id="tensorrt", marks=needs_nvcc),
]


@pytest.mark.parametrize(("find", "variable"), LIBRARIES)
def test_library_is_of_this_version(find: Callable[[], Path], variable: str) -> None:
    assert library_version(find()) == mbert.__version__


@pytest.mark.parametrize(("find", "variable"), LIBRARIES)
def test_library_of_another_version_is_refused(
    find: Callable[[], Path], variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.so"
    mark = f"@(#)mbert {mbert.__version__}\0".encode()
    content = find().read_bytes()
    assert content.count(mark) == 1
    other.write_bytes(content.replace(mark, b"@(#)mbert 9.8.7\0"))
    monkeypatch.setenv(variable, str(other))
    with pytest.raises(BackendError, match=rf"other\.so is of mbert 9\.8\.7.*Correct {variable}"):
        find()


@pytest.mark.parametrize("content", [b"", b"no library"])
def test_file_without_a_mark_has_no_version(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "file.so"
    file.write_bytes(content)
    assert library_version(file) is None


@pytest.mark.parametrize(("find", "variable"), LIBRARIES)
def test_missing_library_is_refused(
    find: Callable[[], Path], variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "absent.so"))
    with pytest.raises(BackendError, match=rf"{variable} names .*absent\.so, which is not a file"):
        find()
    monkeypatch.delenv(variable)
    monkeypatch.setattr("mbert.plugins.__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(BackendError, match=rf"is missing\. .*set {variable} to a build"):
        find()


@pytest.mark.parametrize(
    ("find", "exported"),
    [
        pytest.param(
            onnxruntime_library, {"RegisterCustomOps", "mbert_supported_isas"}, id="onnxruntime"
        ),
        pytest.param(
            onnxruntime_cuda_library,
            {"RegisterCustomOps", "mbert_supported_isas"},
            id="onnxruntime_cuda",
            marks=needs_nvcc,
        ),
        pytest.param(
            tensorrt_library,
            {"getCreators", "setLoggerFinder"},
            id="tensorrt",
            marks=needs_nvcc,
        ),
    ],
)
def test_library_exports_its_entry_points_alone(
    find: Callable[[], Path], exported: set[str]
) -> None:
    """It links the C and C++ runtimes only: no inference runtime, no CUDA library."""
    library = str(find())
    defined = _output("nm", "-D", "--defined-only", library).split("\n")
    assert {line.split()[-1] for line in defined if line} == exported
    needed = [
        line.split("[")[1].rstrip("]")
        for line in _output("readelf", "-d", library).split("\n")
        if "(NEEDED)" in line
    ]
    allowed = (
        "libstdc++.",
        "libgcc_s.",
        "libm.",
        "libc.",
        "libdl.",
        "librt.",
        "libpthread.",
        "ld-",
    )
    assert needed
    assert [name for name in needed if not name.startswith(allowed)] == []


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
