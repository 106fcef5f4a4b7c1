"""bench/gpu runs from a checkout with PyTorch, numpy and nvcc alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mbert.bench.gpu.checkout import find_checkout
from mbert.bench.gpu.steps import STEPS
from mbert.errors import InputError

ROOT = Path(__file__).parents[3]

# Hides mbert's other dependencies, and the installed mbert.
_PROGRAM = """
import importlib, importlib.util, sys
ROOT, *modules = sys.argv[1:]

class Absent:
    names = {"onnx", "onnxscript", "onnx_ir", "onnxruntime", "tokenizers", "click", "rich",
             "safetensors", "huggingface_hub", "transformers", "pytest", "hypothesis"}
    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"no {name} on the GPU machine", name=name)

sys.meta_path.insert(0, Absent())
spec = importlib.util.spec_from_file_location("run", f"{ROOT}/bench/gpu/run.py")
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)
run.bootstrap()
for module in modules:
    found = importlib.import_module(module)
    assert found.__file__.startswith(ROOT), found.__file__
from pathlib import Path
from mbert.bench.gpu.checkout import support
for module in ("cases", "oracle", "attention", "pooling", "primitives"):
    support(Path(ROOT), module)
"""


def test_imports_nothing_but_torch_and_numpy() -> None:
    modules = [f"mbert.bench.gpu.{name}" for name in ("cli", "steps", "kernels", *STEPS)]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(ROOT), *modules],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [[str(ROOT / "bench" / "gpu" / "run.py")], ["-m", "mbert.bench.gpu", "--checkout", str(ROOT)]],
    ids=["script", "module"],
)
def test_says_that_there_is_no_gpu(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--output", str(tmp_path / "record.json")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "", **_PYTHONPATH},
    )  # fmt: skip
    assert done.returncode == 1
    assert "NVIDIA GPU" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


# The import path of this process, for the package under test.
_PYTHONPATH = {"PYTHONPATH": ":".join(path for path in sys.path if path)}


def test_help_needs_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "bench" / "gpu" / "run.py"), "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout


def test_checkout_is_found_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_checkout(ROOT) == ROOT
    with pytest.raises(InputError, match=r"No checkout of mbert in .*--checkout"):
        find_checkout(tmp_path)
    monkeypatch.chdir(ROOT)
    assert find_checkout(None) == ROOT
