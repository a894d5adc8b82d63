# cython: language_level=3, boundscheck=False, wraparound=False
"""Ordinary events in one pass over their JSON, compiled.

The rules are those of rules.py and fields.py, and nothing is decided here that is not decided there: whatever is not plainly an ordinary event
is left to them. What is taken here comes out as they would have it (tests/transforms/parse/test_ordinary.py).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp, memset

import msgspec

from schemas.event import Event, PersonMode
from schemas.limits import MAX_DISTINCT_ID, MAX_EVENT_NAME, MAX_MESSAGE_BYTES
from schemas.persons import APP, CAMPAIGN
from transforms.parse.decode import CLIENT_WARNING, Fields, Properties
from transforms.parse.fields import ILLEGAL_DISTINCT_IDS, is_illegal
from transforms.parse.timestamps import EARLIEST, LATEST, MAX_FUTURE
from transforms.persons.facts import SILENT, SPEAKING

cdef int64_t _EARLIEST = EARLIEST, _LATEST = LATEST, _MAX_FUTURE = MAX_FUTURE
cdef Py_ssize_t _MAX_BYTES = MAX_MESSAGE_BYTES, _MAX_NAME = MAX_EVENT_NAME, _MAX_ID = MAX_DISTINCT_ID
cdef object _FULL = int(PersonMode.FULL), _PERSONLESS = int(PersonMode.PROPERTYLESS)
cdef object _decode_text = msgspec.json.Decoder(str).decode

cdef enum:
    PLAIN, QUOTE, BACKSLASH, CONTROL, WIDE  # what a byte is in a string; WIDE: of a character that is not ASCII

cdef enum:
    MAX_NESTING = 32  # what is deeper is not ordinary
    MAX_NAMES = 64
    HAS_ESCAPES = 1
    HAS_WIDE = 2
    HAS_LETTERS = 4  # that are written as escapes though they are ASCII: so a name can hide

cdef uint8_t IN_STRING[256]
cdef int HEX[256]


cdef void _fill() noexcept:
    cdef int byte
    for byte in range(256):
        IN_STRING[byte] = CONTROL if byte < 0x20 else WIDE if byte >= 0x80 else PLAIN
        HEX[byte] = -1
    IN_STRING[<int>b'"'], IN_STRING[<int>b"\\"] = QUOTE, BACKSLASH
    for byte in range(10):
        HEX[0x30 + byte] = byte
    for byte in range(6):
        HEX[0x41 + byte] = HEX[0x61 + byte] = 10 + byte


_fill()

ctypedef const uint8_t* Text


cdef struct Value:  # of a member: where it is, and HAS_...
    Text start
    Text end
    int has


cdef class _Names:
    """Names of members, each with its place. Those from `extraordinary` on make an object that has one extraordinary."""

    cdef Value[256] _slots
    cdef int[256] _places
    cdef list _kept
    cdef int extraordinary

    def __init__(self, names, int extraordinary):
        cdef int place
        cdef Text text
        cdef int slot
        memset(self._slots, 0, sizeof(self._slots))
        self._kept = [name.encode() for name in names]
        self.extraordinary = extraordinary
        for place, name in enumerate(self._kept):
            text = <Text>PyBytes_AS_STRING(name)
            slot = _slot(text, len(name))
            while self._slots[slot].start != NULL:
                slot = (slot + 1) & 255
            self._slots[slot].start, self._slots[slot].end = text, text + PyBytes_GET_SIZE(name)
            self._places[slot] = place

    cdef int place(self, Text text, Py_ssize_t size) noexcept:
        """Return a name's place, -1 if it is none of them."""
        cdef int slot = _slot(text, size)
        while self._slots[slot].start != NULL:
            if self._slots[slot].end - self._slots[slot].start == size and memcmp(self._slots[slot].start, text, size) == 0:
                return self._places[slot]
            slot = (slot + 1) & 255
        return -1


cdef inline int _slot(Text text, Py_ssize_t size) noexcept:
    return 0 if size == 0 else (<int>size * 17 + text[0] * 3 + text[size // 2] * 29 + text[size - 1] * 7) & 255


# Each of these returns where what it has read ends, or NULL if that is not ordinary. A bytes object ends with a NUL, at which all of them stop.


cdef inline Text _gap(Text at) noexcept:
    while at[0] == b" " or at[0] == b"\n" or at[0] == b"\r" or at[0] == b"\t":
        at += 1
    return at


cdef Text _string(Text at, int* has) noexcept:
    """Read a string from behind its first quote. Escapes of NUL and of lone surrogates are not ordinary."""
    cdef int kind, code
    while True:
        while IN_STRING[at[0]] == PLAIN:
            at += 1
        kind = IN_STRING[at[0]]
        if kind == QUOTE:
            return at + 1
        if kind == CONTROL:
            return NULL
        if kind == WIDE:
            has[0] |= HAS_WIDE
            at += 1
            continue
        has[0] |= HAS_ESCAPES
        if at[1] in b'"\\/bfnrt':
            at += 2
            continue
        if at[1] != b"u":
            return NULL
        code = _code(at + 2)
        if 0xD800 <= code < 0xDC00 and at[6] == b"\\" and at[7] == b"u" and 0xDC00 <= _code(at + 8) < 0xE000:
            at += 12
            continue
        if code <= 0 or 0xD800 <= code < 0xE000:
            return NULL
        if code < 0x80:
            has[0] |= HAS_LETTERS
        at += 6


cdef inline int _code(Text at) noexcept:
    """Return the number of four hexadecimal digits, -1 if there are others."""
    cdef int place, found = 0
    for place in range(4):
        if HEX[at[place]] < 0:
            return -1
        found = found << 4 | HEX[at[place]]
    return found


cdef inline Text _digits(Text at) noexcept:
    """Read one digit or more."""
    if not b"0" <= at[0] <= b"9":
        return NULL
    while b"0" <= at[0] <= b"9":
        at += 1
    return at


cdef Text _number(Text at) noexcept:
    if at[0] == b"-":
        at += 1
    at = at + 1 if at[0] == b"0" else _digits(at)
    if at != NULL and at[0] == b".":
        at = _digits(at + 1)
    if at != NULL and (at[0] == b"e" or at[0] == b"E"):
        at = _digits(at + 2 if at[1] == b"+" or at[1] == b"-" else at + 1)
    return at


cdef inline Text _literal(Text at, const char* text, int size) noexcept:
    cdef int place
    for place in range(size):
        if at[place] != <uint8_t>text[place]:
            return NULL
    return at + size


cdef Text _value(Text at, int* has, int depth) noexcept:
    if at[0] == b'"':
        return _string(at + 1, has)
    if at[0] == b"{":
        return _object(at, has, depth + 1, None, NULL, None, NULL)
    if at[0] == b"[":
        return _array(at, has, depth + 1)
    if at[0] == b"t":
        return _literal(at, b"true", 4)
    if at[0] == b"f":
        return _literal(at, b"false", 5)
    if at[0] == b"n":
        return _literal(at, b"null", 4)
    return _number(at)


cdef Text _array(Text at, int* has, int depth) noexcept:
    if depth > MAX_NESTING:
        return NULL
    at = _gap(at + 1)
    if at[0] == b"]":
        return at + 1
    while True:
        at = _value(at, has, depth)
        if at == NULL:
            return NULL
        at = _gap(at)
        if at[0] == b"]":
            return at + 1
        if at[0] != b",":
            return NULL
        at = _gap(at + 1)


cdef Text _object(Text at, int* has, int depth, _Names names, Value* values, _Names inner, Value* inner_values) noexcept:
    """Read an object.

    Args:
        names, values: of members that are looked for, or None. The first of them is looked into:
        inner, inner_values: of its members, or None.
    """
    cdef Text start
    cdef int place, key, found
    if depth > MAX_NESTING:
        return NULL
    at = _gap(at + 1)
    if at[0] == b"}":
        return at + 1
    while True:
        if at[0] != b'"':
            return NULL
        start = at + 1
        key = 0
        at = _string(start, &key)
        if at == NULL:
            return NULL
        has[0] |= key
        place = -1
        if names is not None:
            if key & HAS_LETTERS:
                return NULL
            place = names.place(start, at - 1 - start)
            if place >= names.extraordinary or (place >= 0 and values[place].start != NULL):
                return NULL
        at = _gap(at)
        if at[0] != b":":
            return NULL
        start = at = _gap(at + 1)
        found = 0
        if place == 0 and inner is not None and at[0] == b"{":
            at = _object(at, &found, depth + 1, inner, inner_values, None, NULL)
        else:
            at = _value(at, &found, depth)
        if at == NULL:
            return NULL
        has[0] |= found
        if place >= 0:
            values[place].start, values[place].end, values[place].has = start, at, found
        at = _gap(at)
        if at[0] == b"}":
            return at + 1
        if at[0] != b",":
            return NULL
        at = _gap(at + 1)


# Of a message: those that are read, and those that make it extraordinary.
cdef enum:
    PROPERTIES, UUID, EVENT, DISTINCT_ID, TIMESTAMP, TOKEN, API_KEY, ORDINARY_FIELDS
_READ = ("properties", "uuid", "event", "distinct_id", "timestamp", "token", "api_key")
cdef _Names _FIELDS = _Names(
    _READ + tuple(name for name in Fields.__struct_encode_fields__ if name not in _READ), ORDINARY_FIELDS
)
# Of its properties.
cdef enum:
    IN_TOKEN, IN_DISTINCT_ID, PROFILE, ELEMENTS_CHAIN, IGNORE_SENT_AT, IP, SET, SET_ONCE, UNSET, GROUPS, COPIED
_READ_INSIDE = (
    "token", "distinct_id", "$process_person_profile", "$elements_chain", "$ignore_sent_at", "$ip", "$set", "$set_once", "$unset", "$groups",
)
cdef int _COPIED = len(CAMPAIGN + APP)
cdef _Names _PROPERTIES = _Names(_READ_INSIDE + CAMPAIGN + APP, MAX_NAMES)
# The other one is read of a client's warning only, which is not ordinary.
assert set(Properties.__struct_encode_fields__) - set(_READ_INSIDE) == {"$$client_ingestion_warning_message"}
assert COPIED + _COPIED <= MAX_NAMES

# Lengths and first letters of distinct ids that may be illegal: only those are looked up.
cdef uint8_t MAY_BE_ILLEGAL[64][256]
memset(MAY_BE_ILLEGAL, 0, sizeof(MAY_BE_ILLEGAL))
for _illegal in ILLEGAL_DISTINCT_IDS:
    for _letter in (_illegal[0].lower(), _illegal[0].upper()):
        MAY_BE_ILLEGAL[len(_illegal)][ord(_letter)] = 1


cdef class Ordinary:
    """Reads the ordinary events of one receipt.

    Args:
        teams: ids by token, which yields 0 for a token that needs a closer look.
        receipt: its id.

    Attributes:
        has_more: whether there is more to be put into the event that was read last: groups, or what it speaks of.
        groups: JSON of its `$groups`, or None.
        speaks: whether it says more of persons or groups than what is `copied`.
        has_ip: whether its properties have an `$ip`.
    """

    cdef Value[ORDINARY_FIELDS] _fields
    cdef Value[MAX_NAMES] _inside
    cdef readonly bint has_more
    cdef readonly bint speaks
    cdef readonly object groups
    cdef readonly bint has_ip

    cdef object _teams
    cdef object _receipt

    def __init__(self, teams, receipt):
        self._teams = teams
        self._receipt = receipt

    def event(self, bytes text not None, object token, int64_t arrival, object sent_at, object historical, object offset, object index):
        """Return an event without facts and groups, or None if it is not ordinary.

        Args:
            text: a JSON object.
            token: of the batch that it is in, or None.
            arrival, sent_at: microseconds since 1970; `sent_at` None for no correction.
            historical, offset, index: as in `Event`.
        """
        cdef Value* fields = self._fields
        cdef Value* inside = self._inside
        cdef Text start = <Text>PyBytes_AS_STRING(text)
        cdef Text end = start + PyBytes_GET_SIZE(text)
        cdef Text at
        cdef Py_ssize_t size
        cdef Value identity
        cdef int64_t time = arrival
        cdef int has = 0
        cdef uint8_t uuid[16]
        if end - start > _MAX_BYTES or start[0] != b"{":
            return None
        memset(fields, 0, sizeof(self._fields))
        memset(inside, 0, sizeof(self._inside))
        at = _object(start, &has, 1, _FIELDS, fields, _PROPERTIES, inside)
        if at == NULL or _gap(at) != end:
            return None
        if fields[PROPERTIES].start == NULL or fields[PROPERTIES].start[0] != b"{":
            return None
        # The identity
        if not _uuid(&fields[UUID], uuid):
            return None
        if fields[EVENT].start == NULL or fields[EVENT].start[0] != b'"' or not 0 < fields[EVENT].end - fields[EVENT].start - 2 <= _MAX_NAME:
            return None
        if not _identity(&fields[DISTINCT_ID] if fields[DISTINCT_ID].start != NULL else &inside[IN_DISTINCT_ID], &identity):
            return None
        size = identity.end - identity.start
        who = PyUnicode_DecodeUTF8(<const char*>identity.start, size, NULL)
        if size < 64 and MAY_BE_ILLEGAL[size][identity.start[0]] and is_illegal(who):
            return None
        # The time
        if fields[TIMESTAMP].start != NULL and fields[TIMESTAMP].start[0] != b"n":
            if not _moment(&fields[TIMESTAMP], &time):
                return None
            if sent_at is not None:
                if inside[IGNORE_SENT_AT].start != NULL:
                    return None
                time -= <int64_t>sent_at - arrival
            if not _EARLIEST <= time <= _LATEST or time > arrival + _MAX_FUTURE:
                return None
        # The team
        team = self._team(token)
        if not team:
            return None
        # What it says
        cdef bint full = True
        if inside[PROFILE].start != NULL:
            if inside[PROFILE].start[0] != b"t" and inside[PROFILE].start[0] != b"f":
                return None
            full = inside[PROFILE].start[0] == b"t"
        chain = ""
        if inside[ELEMENTS_CHAIN].start != NULL:
            if inside[ELEMENTS_CHAIN].start[0] != b'"':
                return None
        try:
            name = _text(&fields[EVENT])
            if inside[ELEMENTS_CHAIN].start != NULL:
                chain = _text(&inside[ELEMENTS_CHAIN])
            if fields[PROPERTIES].has & HAS_WIDE:
                PyUnicode_DecodeUTF8(<const char*>fields[PROPERTIES].start, fields[PROPERTIES].end - fields[PROPERTIES].start, NULL)
        except UnicodeDecodeError:
            return None
        cdef bint special = fields[EVENT].start[1] == b"$" or fields[EVENT].has & HAS_LETTERS
        if special and name == CLIENT_WARNING:
            return None
        self.speaks = inside[SET].start != NULL or inside[SET_ONCE].start != NULL or inside[UNSET].start != NULL
        self.has_ip = inside[IP].start != NULL
        self.groups = None
        copied = ()
        if full:
            if not (special and name in SILENT):
                copied = self._copied()
            if inside[GROUPS].start != NULL:
                self.groups = _bytes(&inside[GROUPS])
            if special and not self.speaks:
                self.speaks = name in SPEAKING
        elif self.speaks or inside[GROUPS].start != NULL or (special and name in SPEAKING):
            return None
        self.has_more = self.speaks or self.groups is not None
        return Event(
            team,
            PyBytes_FromStringAndSize(<const char*>uuid, 16),
            name,
            who,
            time,
            arrival,
            _bytes(&fields[PROPERTIES]),
            chain,
            historical,
            _FULL if full else _PERSONLESS,
            self._receipt,
            offset,
            index,
            "",
            (),
            (),
            (),
            copied,
        )

    cdef object _team(self, object token):
        """Return the team of the first token that is given, 0 if that needs a closer look."""
        cdef Value* value = &self._fields[TOKEN]
        if value.start != NULL or self._fields[API_KEY].start != NULL:
            if value.start != NULL and self._fields[API_KEY].start != NULL:
                return 0
            if value.start == NULL:
                value = &self._fields[API_KEY]
        elif token is not None:
            return self._teams[token] if type(token) is str and token else 0
        else:
            value = &self._inside[IN_TOKEN]
        if _text_size(value) <= 0 or value.has:
            return 0
        return self._teams[PyUnicode_DecodeUTF8(<const char*>value.start + 1, value.end - value.start - 2, NULL)]

    cdef tuple _copied(self):
        """Return the properties that are copied to the person: (place, JSON) one after the other."""
        cdef Value* value
        cdef int place
        cdef list found = None
        for place in range(_COPIED):
            value = &self._inside[COPIED + place]
            if value.start != NULL and value.start[0] != b"n":
                if found is None:
                    found = []
                found.append(place)
                found.append(_bytes(value))
        return () if found is None else tuple(found)


cdef inline Py_ssize_t _text_size(Value* value) noexcept:
    """Return the size of a string without escapes, -1 if it is none."""
    if value.start == NULL or value.start[0] != b'"' or value.has & HAS_ESCAPES:
        return -1
    return value.end - value.start - 2


cdef inline bytes _bytes(Value* value):
    return PyBytes_FromStringAndSize(<const char*>value.start, value.end - value.start)


cdef inline str _text(Value* value):
    """Return a string, decoded."""
    if value.has & HAS_ESCAPES:
        return _decode_text(_bytes(value))
    return PyUnicode_DecodeUTF8(<const char*>value.start + 1, value.end - value.start - 2, NULL)


cdef bint _identity(Value* value, Value* found) noexcept:
    """Find the text of a distinct id: ASCII and not blank, or the digits of a number."""
    cdef Py_ssize_t size = _text_size(value)
    cdef Text at
    if size > 0:
        found.start, found.end = value.start + 1, value.end - 1
    else:
        if value.start == NULL or not b"1" <= value.start[0] <= b"9" or value.end - value.start > 18:
            return False
        found.start, found.end = value.start, value.end
        at = found.start
        while at < found.end:
            if not b"0" <= at[0] <= b"9":
                return False
            at += 1
        size = found.end - found.start
    return size <= _MAX_ID and not value.has and found.start[0] != b" "


cdef bint _uuid(Value* value, uint8_t* found) noexcept:
    """Read 8-4-4-4-12 hexadecimal digits that are not all 0."""
    cdef int place = 0, high, low
    cdef uint8_t any_bit = 0
    cdef Text at = value.start + 1
    if _text_size(value) != 36:
        return False
    if at[8] != b"-" or at[13] != b"-" or at[18] != b"-" or at[23] != b"-":
        return False
    while place < 16:
        if at[0] == b"-":
            at += 1
        high, low = HEX[at[0]], HEX[at[1]]
        if high < 0 or low < 0:
            return False
        found[place] = high << 4 | low
        any_bit |= found[place]
        place += 1
        at += 2
    return any_bit != 0


cdef inline int _decimal(Text at, int digits) noexcept:
    """Return the number of so many digits, -1 if there are others."""
    cdef int place, found = 0
    for place in range(digits):
        if not b"0" <= at[place] <= b"9":
            return -1
        found = found * 10 + at[place] - 0x30
    return found


cdef bint _moment(Value* value, int64_t* found) noexcept:
    """Read `YYYY-MM-DDThh:mm:ss`, up to six digits of a fraction or none, and `Z` or `+hh:mm` or nothing, as microseconds since 1970."""
    cdef int year, month, day, hour, minute, second, sign, shift = 0, scale = 1_000_000
    cdef int64_t fraction = 0, era, day_of_era, days
    cdef Text at = value.start + 1
    cdef Text end = value.end - 1
    if _text_size(value) < 19 or at[4] != b"-" or at[7] != b"-" or at[10] != b"T" or at[13] != b":" or at[16] != b":":
        return False
    year, month, day = _decimal(at, 4), _decimal(at + 5, 2), _decimal(at + 8, 2)
    hour, minute, second = _decimal(at + 11, 2), _decimal(at + 14, 2), _decimal(at + 17, 2)
    if year < 1 or not 1 <= month <= 12 or day < 1 or not 0 <= hour < 24 or not 0 <= minute < 60 or not 0 <= second < 60:
        return False
    if day > (28 + (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)) if month == 2 else 30 + ((month + (month >> 3)) & 1)):
        return False
    at += 19
    if at[0] == b".":
        at += 1
        while b"0" <= at[0] <= b"9":
            scale //= 10
            fraction += <int64_t>(at[0] - 0x30) * scale
            at += 1
            if scale == 0:
                return False
        if scale == 1_000_000:
            return False
    if at[0] == b"Z":
        at += 1
    elif at[0] == b"+" or at[0] == b"-":
        if end - at != 6 or at[3] != b":":
            return False
        sign = 1 if at[0] == b"+" else -1
        if not 0 <= _decimal(at + 1, 2) < 24 or not 0 <= _decimal(at + 4, 2) < 60:
            return False
        shift = sign * (_decimal(at + 1, 2) * 60 + _decimal(at + 4, 2))
        at += 6
    if at != end:
        return False
    # Days of the civil calendar: years begin in March, eras have 400 of them (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    if month <= 2:
        year -= 1
    era = year // 400
    day_of_era = (year - era * 400) * 365 + (year - era * 400) // 4 - (year - era * 400) // 100 + (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = era * 146_097 + day_of_era - 719_468
    found[0] = (((days * 24 + hour) * 60 + minute - shift) * 60 + second) * 1_000_000 + fraction
    return True
