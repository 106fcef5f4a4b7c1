"""The GPU of this machine, and its entry in the table of targets."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mbert.errors import BackendError

if TYPE_CHECKING:
    from mbert.export.targets import Target


@dataclass(frozen=True)
class Card:
    """The GPU that PyTorch computes on, and the versions that timings depend on.

    ``clocks`` are the clocks and the power limit that nvidia-smi reports before the run, "" without
    nvidia-smi.
    """

    name: str
    sm: int
    memory_bytes: int
    multiprocessors: int
    driver: str
    clocks: str
    torch: str
    torch_cuda: str
    python: str
    system: str


def this_card() -> Card:
    """Describe the GPU that PyTorch computes on (CUDA_VISIBLE_DEVICES chooses).

    Raises:
        BackendError: no PyTorch, one without CUDA, or no GPU.
    """
    try:
        import torch
    except ImportError as error:
        raise BackendError(
            "The GPU bench needs PyTorch with CUDA; the Python module 'torch' is missing. Install "
            "it, or run with the Python that has it."
        ) from error
    if torch.version.cuda is None:
        raise BackendError(
            f"PyTorch {torch.__version__} is built without CUDA; the GPU bench computes on an "
            "NVIDIA GPU. Install a CUDA build of PyTorch. (`mbert-bench` measures on a CPU, "
            "`mbert-bench predict l4` predicts for a GPU.)"
        )
    if not torch.cuda.is_available():
        raise BackendError(
            f"PyTorch {torch.__version__} (CUDA {torch.version.cuda}) finds no NVIDIA GPU that it "
            "can use. Run this where `nvidia-smi` lists one whose driver is new enough."
        )
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    # The driver counts GPUs that PyTorch may not see.
    uuid = f"GPU-{found.uuid}"
    return Card(
        name=found.name,
        sm=10 * found.major + found.minor,
        memory_bytes=found.total_memory,
        multiprocessors=found.multi_processor_count,
        driver=_ask(uuid, "driver_version"),
        clocks=_ask(uuid, "clocks.sm,clocks.max.sm,clocks.mem,power.limit"),
        torch=str(torch.__version__),
        torch_cuda=str(torch.version.cuda),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
    )


def target_of(name: str, sm: int) -> Target | None:
    """Find the target of a GPU by the name that its driver reports.

    Args:
        name: such as "NVIDIA L40S"; the longest target name in it wins.
        sm: its compute capability, which must equal the target's.
    """
    from mbert.export.targets import TARGETS

    squeezed = re.sub(r"[^a-z0-9]", "", name.lower())
    held = [t for t in TARGETS.values() if t.name in squeezed and t.sm == sm]
    return max(held, key=lambda target: len(target.name), default=None)


def _ask(uuid: str, fields: str) -> str:
    """Query nvidia-smi for a GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, f"--query-gpu={fields}", "--format=csv,noheader", f"--id={uuid}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
