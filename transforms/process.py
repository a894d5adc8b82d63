"""What a process has once, however many threads and DoFn instances ask for it."""

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")


class Once(Generic[Arguments, Made]):
    """A function that is called once for the same arguments: as with `lru_cache`, but also for threads that ask at the same time."""

    def __init__(self, make: Callable[Arguments, Made], maxsize: int) -> None:
        self._make: Any = lru_cache(maxsize=maxsize)(make)
        self._lock = Lock()
        update_wrapper(self, make)

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        """Return what was made for the arguments."""
        with self._lock:
            made: Made = self._make(*args, **kwargs)
        return made

    def cache_clear(self) -> None:
        """Forget everything."""
        self._make.cache_clear()


def once_a_process(maxsize: int = 4) -> Callable[[Callable[Arguments, Made]], Once[Arguments, Made]]:
    """Decorate a function whose results the whole process shares; the least recently used of more than `maxsize` are dropped."""
    return lambda make: Once(make, maxsize)
