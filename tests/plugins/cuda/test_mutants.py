"""A test of the tests: deliberate mistakes in the CUDA attention kernel are found."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from support.attention import Judgement, judge
from support.cases import Case
from support.emulated import EmulationError, run_attention
from support.native import ROOT, cmake_build
from support.onnx_nodes import reduce
from support.thinning import thinned


class Mutant(NamedTuple):
    """A file of plugins/cuda, a text that occurs once in it, and its replacement."""

    file: str
    old: str
    new: str


KERNEL = "varlen_attention_kernel.h"
SCHEDULE = "varlen_attention_schedule.h"
MUTANTS = {
    "window wider by one": Mutant(KERNEL, "> width ||", "> width + 2 ||"),
    "window narrower by one on one side": Mutant(KERNEL, "> width ||", ">= width ||"),
    "window ends a key early": Mutant(
        KERNEL, "last + arguments.window + 1 : length", "last + arguments.window : length"
    ),
    "window begins a tile late": Mutant(
        KERNEL, "nearest / kKeys * kKeys", "(nearest + kKeys - 1) / kKeys * kKeys"
    ),
    "no mask on tiles that the window cuts": Mutant(KERNEL, "key < all_begin || ", ""),
    "no mask on the last tile": Mutant(KERNEL, " || column >= length", ""),
    "no barrier before the queries are read": Mutant(
        KERNEL, "  machine.barrier();\n  products.load_queries", "  products.load_queries"
    ),
    "no barrier between tiles": Mutant(
        KERNEL, "    machine.barrier();\n    if (key", "    if (key"
    ),
    "no wait for the queries": Mutant(KERNEL, "wait_for_copies<Tiling, 1>(machine);", ""),
    "no wait for the keys": Mutant(KERNEL, "wait_for_copies<Tiling, 0>(machine);", ""),
    "wait for all but the newest keys": Mutant(
        KERNEL, "wait_for_copies<Tiling, 0>", "wait_for_copies<Tiling, 1>"
    ),
    "next tile over the one in use": Mutant(
        KERNEL, "copy_keys_and_values(stage ^ 1,", "copy_keys_and_values(stage,"
    ),
    "keys not rotated": Mutant(
        KERNEL, "if constexpr (kRotation == KeyRotation::kFused)", "if constexpr (false)"
    ),
    "keys of the workspace not rotated": Mutant(
        KERNEL, "kRotation == KeyRotation::kWorkspace", "false"
    ),
    "keys rotated by positions in the batch": Mutant(
        KERNEL, "key_rope, key, length", "key_rope, key + tile.sequence.begin, length"
    ),
    "no kernel that rotates the keys": Mutant(
        SCHEDULE, "    launcher.template rotate_keys<Tiling>(rotation, arguments);\n", ""
    ),
    "keys rotated for one head alone": Mutant(
        SCHEDULE, "rotation = {grid_x, arguments.num_heads,", "rotation = {grid_x, 1,"
    ),
    "attention of one head alone": Mutant(
        SCHEDULE, "attention = {grid_x, arguments.num_heads,", "attention = {grid_x, 1,"
    ),
    "a block too few": Mutant(
        SCHEDULE,
        "Tiling::grid_x(arguments.tokens, arguments.sequences)",
        "Tiling::grid_x(arguments.tokens, arguments.sequences) - 1",
    ),
    "no blocks for the slack": Mutant(
        SCHEDULE, "arguments.tokens, arguments.sequences)", "arguments.tokens, 0)"
    ),
    "one kernel instead of the other": Mutant(
        SCHEDULE, "rotation == KeyRotation::kFused", "rotation == KeyRotation::kWorkspace"
    ),
    "shared memory too small": Mutant(
        SCHEDULE, "Tiling::kSharedBytes}", "Tiling::kSharedBytes / 2}"
    ),
    "slack rows not cleared": Mutant(
        KERNEL, "clear_rows<Tiling>(machine, arrays.context(), tile.first, length);", ""
    ),
    "wrong sequence at a boundary": Mutant(
        "sequences.h", "first_tile(middle) <= index", "first_tile(middle) < index"
    ),
    "rows behind the sequence are the neighbour's": Mutant(
        "tile.h", "const bool exists = first + row < length;", "const bool exists = true;"
    ),
    "sums not rescaled": Mutant(
        "online_softmax.h", "fmaf(sum_[half], correction, sum)", "sum_[half] + sum"
    ),
    "context not rescaled": Mutant("online_softmax.h", "context[n][2 * half] *= correction;", ""),
}

# A sequence before and after another, full and partial tiles, several tiles of keys, several heads.
CASES = (
    *(Case((70, 0, 193), slack=5, num_heads=1, window=window) for window in (-1, 65, 100)),
    Case((70, 9), num_heads=2),
)


@cache
def judged(case: Case) -> tuple[dict[str, NDArray[Any]], Judgement]:
    inputs = case.inputs()
    inputs["qkv"] = reduce(inputs["qkv"], "float16").astype(np.float32)
    return inputs, judge(case, inputs, "float16")


def check(kernels: ctypes.CDLL) -> None:
    for case in CASES:
        inputs, judgement = judged(case)
        for rotation in ("fused", "workspace"):
            judgement.check(run_attention(case, inputs, rotation=rotation, kernels=kernels))
        # NaN stays in its sequence.
        poisoned = {**inputs, "qkv": inputs["qkv"].copy()}
        poisoned["qkv"][70:] = np.nan
        alone = run_attention(case, poisoned, kernels=kernels)[:70]
        Judgement(judgement.exact[:70], judgement.tolerance).check(alone)


def compile_kernels(folder: Path, emulator: Path, mutant: Mutant | None) -> Path:
    """Compile a copy of the kernel's source, with the mutant's mistake in it."""
    shutil.copytree(ROOT / "plugins" / "cuda", folder / "cuda")
    if mutant is not None:
        file = folder / "cuda" / mutant.file
        source = file.read_text()
        assert source.count(mutant.old) == 1, f"{mutant.old!r} is not once in {mutant.file}"
        file.write_text(source.replace(mutant.old, mutant.new))
    here = ROOT / "tests" / "plugins" / "cuda"
    library = folder / "libmutant.so"
    command = [os.environ.get("CXX", "c++"), "-std=c++17", "-O1", "-ffp-contract=off", "-fPIC"]
    command += ["-shared", f"-I{folder}", f"-I{ROOT / 'plugins'}"]
    command += [here / "emulated_mutant.cc", "-o", library]
    command += [emulator]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


@pytest.fixture(scope="module")
def libraries(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path | AssertionError]:
    """The library of each mutant, or its compile error; "" is the kernel without a mistake."""
    build = cmake_build("tests", "-DMBERT_BUILD_TESTS=ON", target="mbert_emulated_gpu")
    emulator = build / "plugins" / "emulation" / "libmbert_emulated_gpu.a"

    def compile_mutant(name: str) -> Path | AssertionError:
        try:
            folder = tmp_path_factory.mktemp("mutant")
            return compile_kernels(folder, emulator, MUTANTS.get(name))
        except AssertionError as error:
            return error

    tested = {
        item.callspec.params["name"]
        for item in request.session.items
        if item.path == Path(__file__) and hasattr(item, "callspec")
    }
    names = ("", *(name for name in MUTANTS if name in tested))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(compile_mutant, names), strict=True))


def load(library: Path | AssertionError) -> ctypes.CDLL:
    if isinstance(library, AssertionError):
        raise library
    return ctypes.CDLL(str(library))


def test_without_a_mistake_all_is_well(libraries: dict[str, Path | AssertionError]) -> None:
    check(load(libraries[""]))


@pytest.mark.parametrize("name", thinned(MUTANTS, [*MUTANTS][::5]))
def test_mutant_is_found(name: str, libraries: dict[str, Path | AssertionError]) -> None:
    kernels = load(libraries[name])
    with pytest.raises((EmulationError, AssertionError)):
        check(kernels)
