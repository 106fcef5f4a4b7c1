"""The error messages for kernels that cannot be launched."""

from __future__ import annotations

import subprocess

from support.native import cmake_build
from support.toolchain import needs_nvcc

UNKNOWN = "the CUDA kernel could not be launched: NAME (STRING)"


def problems(capability: int) -> list[str]:
    build = cmake_build("tests", "-DMBERT_BUILD_TESTS=ON", target="launch_problems")
    program = build / "tests" / "plugins" / "cuda" / "launch_problems"
    command = [program, str(capability)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@needs_nvcc
def test_problems_are_in_words() -> None:
    success, invalid, unsupported, no_image, other = problems(75)
    assert success == ""
    assert invalid.startswith("num_heads is 0")
    assert unsupported.startswith("the GPU's compute capability is 7.5, and bfloat16 needs 8.0")
    assert no_image == (
        "the GPU's compute capability is 7.5; the CUDA kernels of this library are for 7.5, 8.0, "
        "9.0, 12.0 and, by PTX, all that are newer than 8.0. Build it with "
        "MBERT_CUDA_ARCHITECTURES=75"
    )
    assert other == UNKNOWN


@needs_nvcc
def test_errors_without_a_better_reason_keep_their_name() -> None:
    *_, unsupported, no_image, other = problems(103)
    assert unsupported == other == UNKNOWN
    assert "is 10.3; " in no_image
