"""Processes that end with the one that started them."""

import ctypes
import signal

_PDEATHSIG = 1  # PR_SET_PDEATHSIG of prctl(2)


def die_with_parent() -> None:
    """Have this process killed when its parent ends, however that ends: `preexec_fn` of a subprocess. Linux only; elsewhere nothing."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PDEATHSIG, signal.SIGKILL)
