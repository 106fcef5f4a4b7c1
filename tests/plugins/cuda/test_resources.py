"""Registers, memory and instructions of all compiled CUDA kernels."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from support.native import ROOT, cmake_build, cmake_configure
from support.toolchain import has_nvcc, needs_nvcc

# Compiles all kernels for four architectures.
pytestmark = pytest.mark.thorough

ARCHITECTURES = (75, 80, 90, 120)
HEAD_DIMS = (32, 64, 128)
ROTATIONS = ("fused", "workspace")

# The maximum shared memory of a block, in KiB, on every GPU that runs the code:
# "Technical specifications per compute capability" in the CUDA C++ Programming Guide. 8.0 has 163,
# but 8.6 and 8.9 run its code too.
SHARED_KIB = {75: 64, 80: 99, 90: 227, 120: 99}

# Kernels that may use local memory: (architecture, kernel) -> (bytes, reason).
EXCEPTIONS: dict[tuple[int, str], tuple[int, str]] = {}


@dataclass
class Kernel:
    """One kernel for one architecture."""

    local_bytes: int = 0  # spilled registers and arrays
    shared_bytes: int = 0  # static
    instructions: Counter[str] = field(default_factory=Counter)
    predicated: Counter[str] = field(default_factory=Counter)  # those of them with a predicate


Kernels = dict[tuple[int, str], Kernel]


def expected(architecture: int) -> set[str]:
    """Return the names of the kernels of a build for that architecture."""
    types = ["float", "Float16"] + ["BFloat16"] * (architecture >= 80)
    return {
        *(f"pooling {t}" for t in ("float", "Float16", "BFloat16")),
        *(f"rotate_keys {t} {d}" for t, d in itertools.product(types, HEAD_DIMS)),
        *(f"attention {t} {d} {r}" for t, d, r in itertools.product(types, HEAD_DIMS, ROTATIONS)),
    }


@cache
def short_name(mangled: str) -> str:
    full = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout
    found = re.search(
        r"(?:varlen_)?(attention|pooling|rotate_keys)_kernel"
        r"<(?:mbert::cuda::VarlenAttentionTiling<)?(?:mbert::cuda::)?(\w+)"
        r"(?:, (\d+), \d+>)?(?:, \(mbert::cuda::KeyRotation\)(\d))?",
        full,
    )
    assert found is not None, full
    kernel, element, head_dim, rotation = found.groups()
    parts = [kernel, element, head_dim, rotation and ROTATIONS[int(rotation)]]
    return " ".join(part for part in parts if part)


def find_tool(name: str) -> str:
    """Return the path of a program of the CUDA toolkit, or of the wheel that contains it."""
    wheels = Path(sysconfig.get_paths()["purelib"]).glob(f"nvidia/*/bin/{name}")
    path = shutil.which(name) or next((str(path) for path in wheels), None)
    if path is None:
        pytest.skip(f"{name} is not here: `pip install nvidia-cuda-{name}` brings it")
    return path


@pytest.fixture(scope="module")
def library() -> Path:
    if not has_nvcc():
        pytest.skip("there is no nvcc to build the CUDA kernels with")
    architectures = ";".join(map(str, ARCHITECTURES))
    build = cmake_build(
        "cuda",
        "-DMBERT_BUILD_CUDA=ON",
        "-DMBERT_BUILD_ONNXRUNTIME=OFF",
        "-DMBERT_BUILD_TENSORRT=OFF",
        "-DMBERT_WERROR=ON",
        f"-DMBERT_CUDA_ARCHITECTURES={architectures}",
        target="mbert_cuda",
    )
    return build / "plugins" / "cuda" / "libmbert_cuda.a"


def cuobjdump(library: Path, *options: str) -> str:
    tool, disassembler = find_tool("cuobjdump"), find_tool("nvdisasm")
    path = f"{Path(disassembler).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [tool, *options, library],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def kernels(library: Path) -> Kernels:
    result: Kernels = {}
    architecture, kernel = 0, Kernel()
    for line in cuobjdump(library, "--dump-resource-usage", "--dump-sass").splitlines():
        if found := re.match(r"arch = sm_(\d+)", line):
            architecture = int(found[1])
        elif found := re.match(r"\s*Function ?: ?(\w+)|\s*Function (\w+):", line):
            name = short_name(found[1] or found[2])
            kernel = result.setdefault((architecture, name), Kernel())
        elif found := re.match(r"\s*REG:\d+ STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            kernel.local_bytes = int(found[1]) + int(found[3])
            kernel.shared_bytes = int(found[2])
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+ )?([A-Z]\w*)", line):
            kernel.instructions[found[2]] += 1
            kernel.predicated[found[2]] += found[1] is not None
    return result


@pytest.fixture(scope="module")
def dynamic_bytes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The dynamic shared memory of each attention kernel, by "element head_dim capability"."""
    folder = tmp_path_factory.mktemp("tilings")
    lines = [
        f'print("{t} {d} {c}", VarlenAttentionTiling<{t}, {d}, {c}>::kSharedBytes);'
        for t, d, c in itertools.product(("float", "Float16", "BFloat16"), HEAD_DIMS, (75, 80))
        if (t, c) != ("BFloat16", 75)
    ]
    source = folder / "tilings.cc"
    source.write_text(
        "#include <cstdio>\n"
        '#include "cuda/varlen_attention_tiling.h"\n'
        "using namespace mbert::cuda;\n"
        'void print(const char* name, unsigned bytes) { std::printf("%s=%u\\n", name, bytes); }\n'
        f"int main() {{ {' '.join(lines)} }}\n"
    )
    program = folder / "tilings"
    command = ["g++", "-std=c++17", f"-I{ROOT / 'plugins'}", str(source), "-o", str(program)]
    subprocess.run(command, check=True)
    output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return {name: int(size) for name, size in (line.split("=") for line in output.splitlines())}


def test_every_kernel_is_there(kernels: Kernels) -> None:
    assert set(kernels) == {(a, name) for a in ARCHITECTURES for name in expected(a)}
    assert all(kernel.instructions for kernel in kernels.values())


def test_newer_gpus_find_ptx(library: Path) -> None:
    """The PTX is that of the lowest capability from 8.0, for all GPUs without machine code."""
    listed = Counter(re.findall(r"sm_(\w+)\.ptx", cuobjdump(library, "--list-ptx")))
    # One for pooling, and one for each type of the attention.
    assert listed == {"80": 4}


@pytest.mark.parametrize(
    ("architectures", "code", "told"),
    [
        ("75;80;90;120", ["sm_75", "sm_80", "sm_90", "sm_120", "compute_80"], "8.0"),
        ("120;100;89;75", ["sm_75", "sm_89", "sm_100", "sm_120", "compute_89"], "8.9"),
        ("120f;90a", ["sm_90a", "sm_120f", "compute_90"], "9.0"),
        ("75", ["sm_75"], None),
    ],
)
@needs_nvcc
def test_architectures_in_any_order(
    architectures: str, code: list[str], told: str | None, tmp_path: Path
) -> None:
    """The compiler is asked for machine code for each, and PTX for the lowest from 8.0."""
    cmake_configure(
        tmp_path,
        "-DMBERT_BUILD_CUDA=ON",
        "-DMBERT_BUILD_ONNXRUNTIME=OFF",
        "-DMBERT_BUILD_TENSORRT=OFF",
        "-DMBERT_BUILD_TESTS=ON",
        f"-DMBERT_CUDA_ARCHITECTURES={architectures}",
    )
    commands = json.loads((tmp_path / "compile_commands.json").read_text())

    def made(part: str) -> list[list[str]]:
        found = [c["command"] for c in commands if part in c["output"]]
        return [re.findall(r"code=\[?((?:sm|compute)_\w+)", command) for command in found]

    newer = [each for each in code if each != "sm_75"]
    assert made("mbert_cuda_pooling") == [code]
    assert made("mbert_cuda_attention_Float16_80") == ([newer] if newer else [])
    assert made("mbert_cuda_attention_Float16_75") == ([["sm_75"]] if "sm_75" in code else [])
    (problems,) = [c["command"] for c in commands if "launch_problems" in c["output"]]
    assert (f"newer than {told}" in problems) == (told is not None)


def test_nothing_is_in_local_memory(kernels: Kernels) -> None:
    found = {key: kernel.local_bytes for key, kernel in kernels.items() if kernel.local_bytes}
    assert found == {key: size for key, (size, _) in EXCEPTIONS.items()}
    for key, kernel in kernels.items():
        spills = kernel.instructions["STL"] + kernel.instructions["LDL"]
        assert key in EXCEPTIONS or spills == 0, key


def test_shared_memory_fits_the_chip(kernels: Kernels, dynamic_bytes: dict[str, int]) -> None:
    for (architecture, name), kernel in kernels.items():
        dynamic = 0
        if name.startswith("attention"):
            _, element, head_dim, _ = name.split()
            dynamic = dynamic_bytes[f"{element} {head_dim} {75 if architecture < 80 else 80}"]
            assert dynamic > 0
        assert kernel.shared_bytes + dynamic <= SHARED_KIB[architecture] * 1024, name


def test_instructions_are_those_of_the_design(kernels: Kernels) -> None:
    """Tensor cores for 16-bit types only; asynchronous copies where the GPU has them."""
    for (architecture, name), kernel in kernels.items():
        is_attention = name.startswith("attention")
        reduced = is_attention and " float " not in name
        has = kernel.instructions
        assert (has["HMMA"] > 0) == reduced, (architecture, name)
        assert (has["LDSM"] > 0) == reduced, (architecture, name)
        assert (has["LDGSTS"] > 0) == (is_attention and architecture >= 80), (architecture, name)
        if is_attention and not reduced:
            assert has["FFMA"] >= 256, (architecture, name)


def test_warp_wide_instructions_are_unconditional(kernels: Kernels) -> None:
    """All lanes must take part in them: they have no predicate."""
    assert any(kernel.predicated.total() for kernel in kernels.values())
    for key, kernel in kernels.items():
        assert kernel.predicated["HMMA"] == kernel.predicated["LDSM"] == 0, key


def test_unrolled_products_have_no_instruction_too_many(kernels: Kernels) -> None:
    """One mma for each 16 x 8 x 16 of both products: masked tiles share the code."""
    for (architecture, name), kernel in kernels.items():
        if not name.startswith("attention") or " float " in name:
            continue
        head_dim = int(name.split()[2])
        keys = min(64, 8192 // (2 * head_dim))
        products = 2 * (keys // 8) * (head_dim // 16)
        halves = 2 if architecture < 80 else 1  # a depth of 8 takes two
        assert kernel.instructions["HMMA"] == halves * products, (architecture, name)
