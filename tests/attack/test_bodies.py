"""B1, B5: what one message can cost, however small it is on the wire. Its neighbours come out right, and every event is counted."""

import base64
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable

import pytest

from schemas.limits import MAX_LETTER_BYTES
from schemas.message import Messages
from tests.attack.memory import least_cost_of
from tests.transforms.parse.helpers import NOW, REGISTRY, message
from transforms.parse.rules import BATCH_BYTES, BATCH_EVENTS, LETTER_BYTES, Piece, parse_pieces

MEGABYTE = 1_000_000
SECONDS, MEBIBYTES = 1.0, 400.0  # of a message


def zipped(body: bytes) -> bytes:
    return zlib.compress(body, 1, wbits=31)


def batch(*events: bytes, **fields: object) -> bytes:
    head = json.dumps({"api_key": "phc_a", **fields}).encode()
    return zipped(head[:-1] + b',"batch":[' + b",".join(events) + b"]}")


def event(raw: bytes, field: str = "properties", **fields: object) -> bytes:
    """Return an event with a field whose JSON is given."""
    return message(**{"properties": None, **fields})[:-1] + b',"%b":%b}' % (field.encode(), raw)


def big(raw: bytes, field: str = "properties", count: int = 20, **fields: object) -> list[bytes]:
    """Return as many large events as a body may hold."""
    return [event(raw, field, uuid=f"0190a1b2-0000-7000-8000-{place:012}", **fields) for place in range(count)]


def full(part: bytes, size: int = 990_000) -> bytes:
    """Return so many bytes, about, of a part again and again."""
    return part * (size // len(part))


def members(name: bytes, value: bytes = b"1", size: int = 980_000) -> bytes:
    """Return an object with as many different members as go in."""
    count = size // (len(name) + len(value) + 10)
    return b"{" + b",".join(b'"%b%06d":%b' % (name, place, value) for place in range(count)) + b"}"


WHOLE = 19_900_000
NESTED = b"[" * 501 + b"1" + b"]" * 501
BODIES: dict[str, Callable[[], bytes]] = {
    "100,000 numbers": lambda: batch(*[b"1"] * 100_000),
    "100,000 empty objects": lambda: batch(*[b"{}"] * 100_000),
    "100,000 broken objects": lambda: batch(*[b"{x}"] * 100_000),
    "an array of 100,000 numbers": lambda: zipped(b"[" + b",".join([b"1"] * 100_000) + b"]"),
    "100,000 events without a name": lambda: batch(*[b'{"distinct_id":"d"}'] * 100_000),
    "100,000 events of unknown tokens": lambda: batch(*[b'{"token":"phc_%06d"}' % place for place in range(100_000)]),
    "ten million numbers": lambda: batch(full(b"1,", WHOLE) + b"1"),
    "ten million commas": lambda: batch(full(b",", 10 * MEGABYTE)),
    "1,000 bad events, and a head of 900 KB": lambda: batch(*[b"{}"] * 1_000, sent_at="x" * 900_000),
    "a form of percent signs": lambda: zipped(b"data=" + full(b"%", WHOLE)),
    "a form of escaped percent signs": lambda: zipped(b"data=" + full(b"%25", WHOLE)),
    "a form of bytes that are no text": lambda: zipped(b"data=" + full(b"%ff", WHOLE)),
    "a form of empty fields": lambda: zipped(full(b"data=&", WHOLE)),
    "a form of many fields": lambda: zipped(full(b"a=b&", WHOLE) + b"data=x"),
    "base64 of nothing": lambda: zipped(full(b"A", WHOLE)),
    "gzip in gzip in gzip": lambda: zipped(zipped(zipped(full(b" ", WHOLE)))),
    "gzip in base64 in a form": lambda: b"data=" + base64.b64encode(zipped(full(b"{", WHOLE))),
    "100 members of gzip, and a large one": lambda: gzip.compress(b" ") * 99 + zlib.compress(full(b"x", WHOLE), 0, wbits=31),
    "100 large members of gzip": lambda: zipped(full(b" ", 199_000)) * 100,
    "brackets": lambda: zipped(full(b"[", WHOLE)),
    "braces": lambda: zipped(full(b"{", WHOLE)),
    "pairs of brackets": lambda: zipped(b"{" + full(b"[]", WHOLE)),
    "closing brackets": lambda: zipped(b"[" + full(b"]", WHOLE)),
    "quotes": lambda: zipped(b"[" + full(b'"', WHOLE)),
    "escaped quotes in no string": lambda: zipped(b"[" + full(rb"\"", WHOLE)),
    "a string that never ends": lambda: zipped(b'["' + full(rb"\"", WHOLE)),
    "a string that never ends, and a batch": lambda: zipped(b'{"batch":["' + full(rb"\"", WHOLE)),
    "a batch of quotes": lambda: zipped(b'{"batch":[' + full(b'"",', WHOLE)),
    "many batches": lambda: zipped(b"{" + full(b'"batch":[],', WHOLE) + b"}"),
    "many batches, broken": lambda: zipped(b"{" + full(b'"batch":[],', WHOLE) + b"x}"),
    "spaces": lambda: zipped(b"{" + full(b" ", WHOLE)),
    "too deep, again and again": lambda: zipped(b'{"batch":[' + b",".join([NESTED] * 19_000) + b"]}"),
    "too deep, a million times": lambda: zipped(b"[" * 500 + b"[]" + full(b",[]", WHOLE) + b"]" * 500),
    "depth beside a batch": lambda: zipped(b'{"batch":[],"x":' + full(b"[", 9 * MEGABYTE) + full(b"]", 9 * MEGABYTE) + b"}"),
    "values beside a batch": lambda: zipped(b'{"batch":[],"event":[' + full(b"[],", WHOLE) + b"1]}"),
    "members beside a batch": lambda: zipped(b'{"batch":[],' + full(b'"a":1,', WHOLE) + b'"b":"\\ud800"}'),
    "many members of a large message": lambda: zipped(members(b"k", size=WHOLE)),
    "lone surrogates": lambda: batch(*big(b'{"a":"%b"}' % full(rb"\ud800"))),
    "lone surrogates in another field": lambda: batch(*big(b'"%b"' % full(rb"\ud800"), "x", properties={})),
    "escaped NULs": lambda: batch(*big(b'{"a":"%b"}' % full(rb"\u0000"))),
    "escaped NULs, and what hides them": lambda: batch(*big(b'{"a":"%b"}' % full(rb"\\\u0000"))),
    "backslashes": lambda: batch(*big(b'{"a":"%b","b":"\\u0000"}' % full(rb"\\"))),
    "short members": lambda: batch(*big(members(b""))),
    "one member again and again": lambda: batch(*big(b"{%b}" % full(b'"a":1,')[:-1])),
    "empty arrays": lambda: batch(*big(b'{"a":[%b],"b":"\\u0000"}' % full(b"[],")[:-1])),
    "strings": lambda: batch(*big(b'{"a":[%b],"b":"\\u0000"}' % full(b'"[",')[:-1])),
    "members of $set": lambda: batch(*big(members(b""), "$set", properties={})),
    "members of $set, in the properties": lambda: batch(*big(b'{"$set":%b}' % members(b""))),
    "members of $set_once": lambda: batch(*big(b'{"$set_once":%b}' % members(b""))),
    "members of $set in both places": lambda: batch(*big(b'%b,"properties":{"$set":{"a":1}}' % members(b""), "$set")),
    "names of $unset": lambda: batch(*big(b'{"$unset":[%b]}' % full(b'"a",')[:-1])),
    "members of $groups": lambda: batch(*big(b'{"$groups":%b}' % members(b""))),
    "members of $group_set": lambda: batch(
        *big(b'{"$group_type":"t","$group_key":"k","$group_set":%b}' % members(b""), event="$groupidentify")
    ),
    "a personless event's $set": lambda: batch(*big(b'{"$process_person_profile":false,"$set":%b}' % members(b""))),
    "a timestamp of digits": lambda: batch(*big(b'"%b-"' % full(b"9"), "timestamp", properties={})),
    "a timestamp of spaces": lambda: batch(*big(b'"%b"' % full(b" "), "timestamp", properties={})),
    "a number of a million digits": lambda: batch(*big(full(b"9"), "timestamp", properties={})),
    "a fraction of a million digits": lambda: batch(*big(b"0." + full(b"9"), "offset", properties={})),
    "a long exponent": lambda: batch(*big(b"1e" + full(b"9"), "distinct_id", distinct_id=None, properties={})),
    "a long uuid": lambda: batch(*big(b'"%b"' % full(b"-"), "uuid", properties={})),
    "a long distinct id": lambda: batch(*big(b'"%b"' % full(b"d"), "distinct_id", distinct_id=None, properties={})),
    "a distinct id of arrays": lambda: batch(*big(b"[%b]" % full(b"[],")[:-1], "distinct_id", distinct_id=None, properties={})),
    "a long name": lambda: batch(*big(b'"%b"' % full(b"e"), "event", properties={})),
    "long tokens": lambda: batch(*[event(b'"%b%d"' % (full(b"t"), place), "token", properties={}) for place in range(20)]),
    "a profile of arrays": lambda: batch(*big(b'{"$process_person_profile":[%b]}' % full(b"[],")[:-1])),
    "a client's warning of arrays": lambda: batch(
        *big(b'{"$$client_ingestion_warning_message":[%b]}' % full(b"[],")[:-1], event="$$client_ingestion_warning")
    ),
    "elements of a megabyte": lambda: batch(*big(b'{"$elements_chain":"%b"}' % full(b"e"))),
    "a captured message of escapes": lambda: json.dumps(
        {"token": "phc_a", "now": "2026-11-01T12:00:00Z", "distinct_id": "d", "data": message(properties={"a": "\0" * 100_000}).decode()}
    ).encode(),
    "an arrival of digits": lambda: json.dumps({"token": "phc_a", "now": "9" * 400_000, "data": "{}" * 100_000}).encode(),
}


def weight(piece: Piece) -> int:
    """Return about how many bytes a batch holds."""
    events, letters = piece.batch.events, piece.batch.letters
    return sum(len(each.properties) for each in events) + sum(len(each.body) + LETTER_BYTES for each in letters)


# One of each kind; the others with `make test-attack`.
QUICK = {
    "100,000 numbers", "100,000 broken objects", "ten million commas", "1,000 bad events, and a head of 900 KB", "a form of percent signs",
    "100 members of gzip, and a large one", "brackets", "escaped quotes in no string", "a string that never ends", "many batches",
    "too deep, a million times", "values beside a batch", "lone surrogates", "escaped NULs, and what hides them", "empty arrays", "strings",
    "members of $set in both places", "names of $unset", "members of $groups", "a number of a million digits", "long tokens",
}  # fmt: skip


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.attack) for name in BODIES])
def test_what_a_message_costs(name: str) -> None:
    hostile = BODIES[name]()
    assert len(hostile) < 20 * MEGABYTE
    payloads = [message(distinct_id="before"), hostile, message(distinct_id="after")]
    last: list[Piece] = []
    counts: Counter[str] = Counter()
    neighbours: list[str] = []

    def parse() -> None:
        """Hold a batch as long as the steps behind do: until the next one is asked for."""
        counts.clear()
        neighbours.clear()
        for piece in parse_pieces(Messages(9, "topic/0", payloads, [0, 1, 2], NOW, [NOW] * 3), REGISTRY):
            last[:] = [piece]
            counts["received"] += sum(tally.count for tally in piece.report.tallies)
            counts["found"] += len(piece.batch.events) + sum(letter.events for letter in piece.batch.letters)
            counts["parsed"] += piece.report.parsed
            assert (counts["parsed"] == 3) == (piece.places.stop == 3 and bool(piece.report.parsed))
            neighbours.extend(each.distinct_id for each in piece.batch.events if each.offset != 1)
            assert len(piece.batch.events) <= BATCH_EVENTS
            assert len(piece.batch.letters) <= 1_002
            assert weight(piece) <= BATCH_BYTES + MAX_LETTER_BYTES + 2 * MEGABYTE

    cost = least_cost_of(parse, SECONDS)
    print(f"{name:45} {len(hostile):10,} {cost.seconds:6.2f} s {cost.mebibytes:7.0f} MiB")
    assert neighbours == ["before", "after"]
    assert counts["received"] == counts["found"] >= 2
    assert counts["parsed"] == 3
    assert cost.seconds <= SECONDS
    assert cost.mebibytes <= MEBIBYTES
