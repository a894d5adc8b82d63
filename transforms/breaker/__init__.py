"""The breaker: a stream stops when far too many events are rejected, and those whose teams were accepted before are among them."""

from transforms.breaker.breaker import Breaker, BreakerAt

__all__ = ["Breaker", "BreakerAt"]
