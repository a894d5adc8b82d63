"""Processes: what they use, and that they end with the one that started them."""

import ctypes
import os
import signal

_PDEATHSIG = 1  # PR_SET_PDEATHSIG of prctl(2)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


def die_with_parent() -> None:
    """Have this process killed when its parent ends, however that ends: `preexec_fn` of a subprocess. Linux only; elsewhere nothing."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PDEATHSIG, signal.SIGKILL)


def used(process: int) -> tuple[int, float]:
    """Return bytes of memory and CPU seconds of a process; zeros if it is gone."""
    try:
        with open(f"/proc/{process}/statm") as statm, open(f"/proc/{process}/stat") as stat:
            after_name = stat.read().rpartition(") ")[2].split()
            return int(statm.read().split()[1]) * _PAGE, (int(after_name[11]) + int(after_name[12])) / _TICKS
    except FileNotFoundError:
        return 0, 0.0
