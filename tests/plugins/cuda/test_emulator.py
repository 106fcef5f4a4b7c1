"""The checks of the emulated GPU: each kernel that breaks one rule is reported."""

from __future__ import annotations

import pytest

from support.emulated import EmulationError, run_violation

# The kernels of violations.h and the expected messages. A race is reported at the second access.
RACE = r"_shared .*data race: .*(written|read) by thread \d+ in line \d+, with no barrier since"
VIOLATIONS = {
    "missing barrier before a read": RACE,
    "missing barrier after a read": RACE,
    "two writers": RACE,
    "race within a warp": RACE,
    "ldmatrix without a barrier": r"ldmatrix_x4 .*row address of lane \d+: data race",
    "uninitialised read": r"load_shared .*was never written",
    "shared out of bounds": r"4 bytes of shared memory at 10\d\d, of which the block has 1024",
    "shared misaligned": r"16 bytes of shared memory at \d+ are not aligned",
    "ldmatrix misaligned": r"ldmatrix_x4 .*lane \d+: 16 bytes .*not aligned",
    "read before the wait": r"load_shared .*destination of a copy that thread \d+ began .*waited",
    "wait that does not cover the group": r"load_shared .*destination of a copy",
    "wait without a commit": r"load_shared .*destination of a copy",
    "wait without a barrier": r"(race|destination of a copy|never written)",
    "barrier without a wait": r"load_shared .*destination of a copy",
    "copy over what others read": r"(cp_async16|load_shared) .*(race|destination of a copy)",
    "global read out of bounds": r"load_global .*4 bytes in no buffer: at in \+ 256 \(it has 256",
    "global read misaligned": r"load_global .*16 bytes at in \+ \d+ are not aligned",
    "copy from out of bounds": r"thread 1: cp_async16 .*16 bytes in no buffer",
    "write to what may be read only": r"store_global .*in may only be read",
    "written twice": r"store_global .*byte \d+ of out is written a second time",
    "read of the output": r"load_global .*of out was not written by an earlier launch",
    "output not written": r"byte 28 of out was never written",
    "divergent barrier": r"barrier .*other threads of the block are at the barrier in line \d+",
    "barrier that threads return before": r"stuck: 63 threads at barrier .*, 1 threads? at return",
    "warp-wide primitive without a lane": r"stuck: .*31 threads at shuffle_xor",
    "warp-wide primitives apart": r"(mma_k8|shuffle_xor) .*other lanes of the warp are at another",
    "barrier and warp-wide primitive": r"stuck: 32 threads at barrier .*32 threads at shuffle_xor",
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", VIOLATIONS)
def test_violation_is_reported_with_its_place(name: str, seed: int) -> None:
    with pytest.raises(EmulationError, match=VIOLATIONS[name]) as caught:
        run_violation(name, seed)
    if "never written" not in str(caught.value):
        assert "block (0, 0)" in str(caught.value)
    if "thread " in str(caught.value).partition(":")[0]:
        assert "violations.h:" in str(caught.value)


@pytest.mark.parametrize("seed", range(4))
def test_no_violation_is_not_reported(seed: int) -> None:
    run_violation("none", seed)
