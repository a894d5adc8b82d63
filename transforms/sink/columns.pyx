# cython: language_level=3, boundscheck=False, wraparound=False
"""Columns of plain records, compiled.

What a column takes is decided by pyarrow (rows.py): records with a value that is not plainly of its column's type are left to it, with
the errors that it raises. Columns that are made here are equal to its own (tests/transforms/sink/test_columns.py).
"""

cimport cython
from cpython.bool cimport PyBool_Check
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_GET_SIZE
from cpython.long cimport PyLong_Check
from cpython.ref cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_Check
from libc.stdint cimport INT32_MAX, int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from types import MemberDescriptorType

import pyarrow as pa


cdef extern from "Python.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset

    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member


cdef enum:
    BOOL, INT8, UINT32, INT64, UINT64, FIXED, BINARY, STRING

_KINDS = {pa.bool_(): BOOL, pa.int8(): INT8, pa.uint32(): UINT32, pa.int64(): INT64, pa.uint64(): UINT64}  # what records have
_KINDS.update({pa.binary(): BINARY, pa.string(): STRING})


class _NotPlain(Exception):
    """A value is not plainly of its column's type."""


cdef class Columns:
    """Makes columns of records of one type.

    Args:
        record: a type of msgspec.Struct.
        schema: the columns.
        fields: of a record, by column, where their names differ.
        spread: columns, by a field that is a tuple of text for them, from the first on; the others are "".
    """

    cdef object _record
    cdef list _columns

    def __init__(self, record, schema, fields, spread):
        places = {name: (field, place, len(names)) for field, names in spread.items() for place, name in enumerate(names)}
        self._record = record
        self._columns = []
        for column in schema:
            field, place, count = places.get(column.name, (fields.get(column.name, column.name), 0, 0))
            self._columns.append(_Column(column.name, column.type, getattr(record, field), place, count))

    def arrays(self, records):
        """Return the arrays by column, or None if the records are not all plain. Nothing may change them meanwhile."""
        cdef list kept = list(records)
        cdef _Column column
        for record in kept:
            if type(record) is not self._record:
                return None
        try:
            return {column.name: column.array(kept) for column in self._columns}
        except (_NotPlain, OverflowError, UnicodeEncodeError):
            return None


@cython.final
cdef class _Column:
    """Makes one column. It reads the field from its slot in the record: to make tuples of records first would cost 0.1 us each.

    Args:
        name, type: the column's.
        member: the field's descriptor.
        place, count: which item of the field it is, and of how many; count 0 if it is the field itself.
    """

    cdef object name, _type
    cdef int _kind
    cdef Py_ssize_t _slot, _place, _count

    def __init__(self, name, type, member, place, count):
        if not isinstance(member, MemberDescriptorType):
            raise TypeError(f"{member!r} is not a field of a Struct")
        self.name, self._type = name, type
        if pa.types.is_fixed_size_binary(type):
            self._kind = FIXED
        else:
            self._kind = _KINDS[pa.int64() if pa.types.is_timestamp(type) else type]
        self._slot = (<PyMemberDescrObject*>member).d_member.offset
        self._place, self._count = place, count

    cdef object array(self, list records):
        buffers = self._texts(records) if self._kind == STRING or self._kind == BINARY else [self._values(records)]
        return pa.Array.from_buffers(self._type, len(records), [None, *buffers], 0)

    cdef inline object _value(self, object record):
        cdef PyObject* field = (<PyObject**>(<char*><PyObject*>record + self._slot))[0]
        if field == NULL:
            raise _NotPlain
        if self._count == 0:
            return <object>field
        if not PyTuple_CheckExact(<object>field) or PyTuple_GET_SIZE(<object>field) > self._count:
            raise _NotPlain
        return <object>PyTuple_GET_ITEM(<object>field, self._place) if self._place < PyTuple_GET_SIZE(<object>field) else ""

    cdef object _values(self, list records):
        """Return a buffer of values of a fixed size. A number that is out of range raises OverflowError."""
        cdef Py_ssize_t row, width = self._type.bit_width // 8, size = (len(records) * self._type.bit_width + 7) // 8
        data = pa.allocate_buffer(size)
        cdef char* out = _start(data)
        memset(out, 0, size)  # for BOOL: bits are only set
        for row in range(len(records)):
            value = self._value(records[row])
            if self._kind == FIXED:
                if not PyBytes_Check(value) or PyBytes_GET_SIZE(value) != width:
                    raise _NotPlain
                memcpy(out + row * width, PyBytes_AS_STRING(value), width)
            elif self._kind == BOOL:
                if not PyBool_Check(value):
                    raise _NotPlain
                (<uint8_t*>out)[row >> 3] |= (value is True) << (row & 7)
            elif not PyLong_Check(value) or PyBool_Check(value):
                raise _NotPlain
            elif self._kind == INT64:
                (<int64_t*>out)[row] = value
            elif self._kind == UINT64:
                (<uint64_t*>out)[row] = value
            elif self._kind == UINT32:
                (<uint32_t*>out)[row] = value
            else:
                (<int8_t*>out)[row] = value
        return data

    cdef list _texts(self, list records):
        """Return buffers of offsets and bytes. What the first pass has found is kept: a second look at the records takes a tenth longer."""
        cdef Py_ssize_t row, size, total = 0, rows = len(records)
        ends, found = pa.allocate_buffer((rows + 1) * sizeof(int32_t)), pa.allocate_buffer(rows * sizeof(char*))
        cdef int32_t* offsets = <int32_t*>_start(ends)
        cdef const char** texts = <const char**>_start(found)
        offsets[0] = 0
        for row in range(rows):
            texts[row] = self._text(self._value(records[row]), &size)
            total += size
            if total > INT32_MAX:
                raise _NotPlain
            offsets[row + 1] = <int32_t>total
        data = pa.allocate_buffer(total)
        cdef char* out = _start(data)
        for row in range(rows):
            memcpy(out + offsets[row], texts[row], offsets[row + 1] - offsets[row])
        return [ends, data]

    cdef inline const char* _text(self, object value, Py_ssize_t* size) except NULL:
        if self._kind == STRING and PyUnicode_Check(value):
            return PyUnicode_AsUTF8AndSize(value, size)
        if self._kind == BINARY and PyBytes_Check(value):
            size[0] = PyBytes_GET_SIZE(value)
            return PyBytes_AS_STRING(value)
        raise _NotPlain


cdef char* _start(object buffer):
    return <char*><uintptr_t>buffer.address
