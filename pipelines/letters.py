"""`sluice letters`: the dead letters in; what they are, what that means and what to do about it out (docs/letters.md)."""

import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from schemas.reasons import Reason
from transforms.io.letters.selection import Reader, Selection
from transforms.printable import printable

SHOWN_BYTES = 65_536  # of a body that are looked at
GZIP, GZIP_WINDOW = b"\x1f\x8b", 31


class Explanation(NamedTuple):
    """What a reason means, and what to do about it."""

    means: str
    do: str


_LATER = "A replay helps only with a release that accepts it."
_CLIENT = "The customer's code sends it: tell them (ingestion_warnings does, too). " + _LATER

EXPLANATIONS = {
    Reason.MALFORMED_BODY: Explanation(
        "The bytes are no JSON object: not JSON, not UTF-8, or gzip that is broken or cut short.",
        "Look at some with --show. One customer's: tell them. Everybody's, and since a certain minute: something before the topic"
        " breaks messages; stop that first. " + _LATER,
    ),
    Reason.BODY_TOO_LARGE: Explanation(
        "A request's body has, or inflates to, more than 20,000,000 bytes, or holds more than 100,000 events.",
        "The customer must send smaller batches. To take these all the same, split them, and ingest the parts as files.",
    ),
    Reason.MESSAGE_SIZE_TOO_LARGE: Explanation(
        "One event has more than 1,000,000 bytes.",
        "Look at one with --show: mostly it is a property with a whole document in it, which the customer must leave out. " + _LATER,
    ),
    Reason.MISSING_TOKEN: Explanation(
        "There is no token, so nobody knows whose event it is.",
        "Few: somebody's test. Many since a certain minute: an edge or proxy drops the token; repair that, so that no more come."
        " A replay cannot help: the token is not in the bytes.",
    ),
    Reason.INVALID_TOKEN: Explanation(
        "The token can be none: over 64 bytes, not ASCII, not a string, or a personal key (phx_...).",
        "A personal key in a client is a secret that leaks: tell the customer to revoke it and to use the project's token.",
    ),
    Reason.UNKNOWN_TOKEN: Explanation(
        "The token is well formed, but no team of the registry has it.",
        "Is a team missing in the file of --teams: a new customer, a new token, a file that was rolled back? Then add it, and run"
        " sluice replay --reason unknown_token: all of these are stored as if it had been there. If it is nobody's, leave them.",
    ),
    Reason.MISSING_EVENT_NAME: Explanation("The event has no name.", _CLIENT),
    Reason.MISSING_DISTINCT_ID: Explanation("The event has no distinct id, or a blank one: it is of no person.", _CLIENT),
    Reason.DISTINCT_ID_TOO_LARGE: Explanation("The distinct id has more than 400 characters.", _CLIENT),
    Reason.INVALID_EVENT_UUID: Explanation("The event's uuid is none, or all zeros, which many events would share.", _CLIENT),
    Reason.MALFORMED_EVENT_PROPERTIES: Explanation("`properties` is no JSON object, or is nested deeper than 500.", _CLIENT),
    Reason.SCHEMA_VALIDATION_FAILED: Explanation("A field has a type that cannot be used, as a name that is a number.", _CLIENT),
    Reason.INVALID_EVENT_WHEN_PROCESS_PERSON_PROFILE_IS_FALSE: Explanation(
        "An $identify, $create_alias or $merge_dangerously says that it has no person, which is what it is about.", _CLIENT
    ),
    Reason.UNREADABLE_FILE: Explanation(
        "The rest of a source file could not be decoded; the body has its first bytes, and the column `source` names the file.",
        "It is no message, and cannot be replayed. Get or repair the file, and ingest it again: what was stored of it is not stored twice.",
    ),
}  # fmt: skip


UNKNOWN = Explanation("This release does not know the reason.", "A newer one wrote it: see there.")


def explain(reason: str) -> Explanation:
    """Return what a reason of a letter means."""
    known = {each.value: explanation for each, explanation in EXPLANATIONS.items()}
    return known.get(reason, UNKNOWN)


class Group(msgspec.Struct, frozen=True):
    """The letters of one reason: how many events of each status, of how many known teams, and when the first and the last arrived."""

    reason: str
    waiting: int
    replayed: int
    failed_again: int
    teams: int
    oldest: datetime
    newest: datetime


def summarize(client: Reader, selection: Selection) -> list[Group]:
    """Return the letters that pass the filters, whatever their status, by reason: those with most waiting first."""
    counts = ", ".join(f"sumIf(events, status = '{status}') AS {status}" for status in ("waiting", "replayed", "failed_again"))
    rows = client.rows(
        f"SELECT toString(reason) AS name, {counts}, uniqExactIf(team_id, team_id != 0), min(_timestamp), max(_timestamp)"
        f" FROM letters WHERE {selection.filters()} GROUP BY name ORDER BY waiting DESC, name"
    )
    return [Group(*row) for row in rows]


class Letter(msgspec.Struct, frozen=True):
    """One letter, to be looked at; `body` is a text, cut."""

    arrived: datetime
    team_id: int
    step: str
    reason: str
    detail: str
    status: str
    attempt: int
    source: str
    bytes: int
    body: str


class BodyReader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def columns(self, sql: str) -> dict[str, list[Any]]:
        """Return a query's columns, with strings as bytes."""


def show(client: BodyReader, selection: Selection, limit: int, width: int) -> list[Letter]:
    """Return some of the letters that are meant, the last to arrive first, with bodies cut to `width` characters."""
    columns = client.columns(
        "SELECT _timestamp, team_id, step, reason, detail, status, attempt, source, bytes,"
        f" substring(body, 1, {SHOWN_BYTES}) AS start FROM letters WHERE {selection.condition()}"
        f" ORDER BY _timestamp DESC, _receipt, _offset, _index LIMIT {limit}"
    )
    return [_letter(values, width) for values in zip(*columns.values(), strict=True)]


def _letter(values: Iterable[Any], width: int) -> Letter:
    *others, start = values
    texts: list[Any] = [printable(value.decode(errors="replace")) if isinstance(value, bytes) else value for value in others]
    return Letter(*[*texts, shown(start, width)])


def shown(body: bytes, width: int) -> str:
    """Return a body as a line that a terminal can show: inflated, what cannot be printed escaped, and cut to `width` characters."""
    text = inflated(body, 4 * width)[: 4 * width].decode(errors="backslashreplace")
    line = printable(text[: width + 1])
    return line if len(line) <= width else line[: max(0, width - 3)] + "..."


def inflated(body: bytes, limit: int) -> bytes:
    """Return what the beginning of a gzip holds, `limit` bytes at most; anything else as it is."""
    if not body.startswith(GZIP):
        return body
    try:
        return zlib.decompressobj(GZIP_WINDOW).decompress(body, limit) or body
    except zlib.error:
        return body
