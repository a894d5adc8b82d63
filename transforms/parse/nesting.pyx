# cython: language_level=3, boundscheck=False, wraparound=False
"""Brackets and commas of JSON, found in one pass, compiled. What is said in structure.py holds here."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t


def edges(bytes raw not None, Py_ssize_t level, bint commas, Py_ssize_t most):
    """As `structure.edges`."""
    cdef const uint8_t* text = <const uint8_t*>PyBytes_AS_STRING(raw)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(raw), at = 0, depth = 0, count = 0
    cdef uint8_t byte
    cdef bint is_edge
    cdef list found = []
    while at < end:
        byte = text[at]
        is_edge = False
        if byte == c'"':
            at += 1
            while at < end and text[at] != c'"':
                at += 2 if text[at] == c"\\" else 1
        elif byte == c"[" or byte == c"{":
            depth += 1
            is_edge = depth == level
        elif byte == c"]" or byte == c"}":
            is_edge = depth == level
            depth -= 1
        elif byte == c",":
            is_edge = commas and depth == level
        if is_edge:
            if count == most:
                return None
            count += 1
            found.append(at)
        at += 1
    return found
