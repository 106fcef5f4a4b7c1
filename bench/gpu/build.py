"""Compile the kernels for one compute capability, without CMake or a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mbert.errors import BackendError

LIBRARY = "libmbert_gpu.so"
NVCC_PLACES = (Path("/usr/local/cuda/bin"),)
# The flags of plugins/cuda/CMakeLists.txt that results depend on.
_FLAGS = ("-std=c++17", "-O3", "--fmad=false", "-Xcompiler=-fPIC,-fvisibility=hidden")
_ELEMENTS = ("float", "Float16", "BFloat16")
_LINES_OF_ERROR = 30


def find_nvcc() -> Path:
    """Find nvcc: by CUDACXX in the environment, on the PATH, or in /usr/local/cuda.

    Raises:
        BackendError: none is found.
    """
    places = os.pathsep.join((os.environ.get("PATH", ""), *map(str, NVCC_PLACES)))
    found = shutil.which(os.environ.get("CUDACXX") or "nvcc", path=places)
    if found is None:
        raise BackendError(
            "There is no nvcc on the PATH or in /usr/local/cuda/bin. Install the CUDA toolkit, or "
            "let CUDACXX name its nvcc."
        )
    return Path(found)


def nvcc_version(nvcc: Path) -> str:
    """Return the release, such as "13.0, V13.0.88", or "unknown"."""
    printed = _run([str(nvcc), "--version"])
    lines = [line for line in printed.splitlines() if "release " in line]
    return lines[0].partition("release ")[2] if lines else "unknown"


def build(checkout: Path, folder: Path, sm: int, nvcc: Path) -> Path:
    """Compile and link the kernels and the probes.

    Args:
        checkout: the repository.
        folder: for the objects and the library; created if missing.
        sm: compute capability of the GPU, 10 * major + minor.
        nvcc: the compiler.

    Returns:
        The shared library.

    Raises:
        BackendError: nvcc fails; the message has the end of what it printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    compiles = compile_commands(checkout, folder, sm, nvcc)
    # The threads only wait for nvcc's processes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_run, compiles.values()))
    library = folder / LIBRARY
    _run([str(nvcc), "-shared", f"-arch=sm_{sm}", *map(str, compiles), "-o", str(library)])
    return library


def compile_commands(checkout: Path, folder: Path, sm: int, nvcc: Path) -> dict[Path, list[str]]:
    """Return the compile command of each object; arguments as for :func:`build`."""
    machine = 80 if sm >= 80 else 75
    cuda = checkout / "plugins" / "cuda"
    common = (
        *_FLAGS,
        f"-arch=sm_{sm}",
        f"-I{checkout / 'plugins'}",
        f"-I{checkout / 'tests' / 'plugins' / 'cuda'}",
        f"-DMBERT_CUDA_CAPABILITY={machine}",
        f"-DMBERT_CUDA_HAS_{machine}",
    )
    elements = [name for name in _ELEMENTS if machine >= 80 or name != "BFloat16"]
    units = [
        (checkout / "bench" / "gpu" / "kernels.cu", "kernels", ()),
        (cuda / "pooling.cu", "pooling", ()),
        *((source, source.stem, ()) for source in sorted(cuda.glob("*.cc"))),
        *(
            (cuda / "varlen_attention.cu", f"attention_{name}", (f"-DMBERT_CUDA_ELEMENT={name}",))
            for name in elements
        ),
    ]
    return {
        folder / f"{name}.o": [
            *(str(nvcc), *common, *defines),
            *("-c", str(source), "-o", str(folder / f"{name}.o")),
        ]
        for source, name, defines in units
    }


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-_LINES_OF_ERROR:])
        raise BackendError(f"nvcc failed ({done.returncode}): {' '.join(command)}\n{end}")
    return done.stdout
