"""Parsing: what clients send, taken apart and checked."""

from transforms.parse.transform import ParseEvents

__all__ = ["ParseEvents"]
