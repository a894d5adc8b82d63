"""Event time: from what a client says about its clock to microseconds since 1970."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import ciso8601

from schemas.limits import EARLIEST_ARRIVAL, LATEST_ARRIVAL, MAX_FUTURE_SECONDS
from schemas.reasons import WarningType

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
MICROSECOND = timedelta(microseconds=1)
MAX_FUTURE = MAX_FUTURE_SECONDS * SECOND
# What ClickHouse's DateTime64 holds: the years 1900 to 2299.
EARLIEST = -2_208_988_800 * SECOND
LATEST = 10_413_792_000 * SECOND - 1

_YEAR = re.compile(r"\s*[+-]?(\d+)-")


def parse_time(value: Any) -> int | None:
    """Return microseconds since 1970 of an ISO 8601 text, or of a number of seconds, milliseconds or microseconds; None if it is neither.

    A text without a time zone is UTC. Numbers are told apart by size: seconds reach the year 5138, milliseconds go on from there.
    """
    if type(value) is str:
        try:
            moment = ciso8601.parse_datetime(value)
        except (ValueError, OverflowError):  # the latter for 24:00 of the last day there is
            return None
        return ((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND
    if isinstance(value, int | float) and not isinstance(value, bool):
        size = abs(value)
        scale = SECOND if size < 1e11 else 1_000 if size < 1e14 else 1
        return round(value * scale) if size < 1e18 else None
    return None


def parse_arrival(value: Any) -> int | None:
    """Return microseconds since 1970 of when the edge says it took a request; None if that cannot be: EARLIEST_ARRIVAL, LATEST_ARRIVAL."""
    micros = parse_time(value)
    return micros if micros is not None and EARLIEST_ARRIVAL <= micros <= LATEST_ARRIVAL else None


def event_time(timestamp: Any, offset: Any, sent_at: int | None, arrival: int) -> tuple[int, WarningType | None]:
    """Return the event time, microseconds since 1970, and why it is not the one that the client sent, if so (docs/events.md, "Time").

    Args:
        timestamp: what the client sent, or None.
        offset: milliseconds before the arrival, or None; it wins.
        sent_at: the client's clock when it sent the request, microseconds since 1970; None for no correction.
        arrival: microseconds since 1970.
    """
    if offset is not None and isinstance(offset, int | float) and not isinstance(offset, bool):
        micros = arrival - round(offset * 1_000) if abs(offset) < 1e15 else None
    elif timestamp is None or timestamp == "":
        return arrival, None
    else:
        micros = parse_time(timestamp)
        if micros is None:
            return arrival, _why(timestamp)
        if sent_at is not None:
            micros -= sent_at - arrival
    if micros is None or not EARLIEST <= micros <= LATEST or micros > arrival + MAX_FUTURE:
        return arrival, WarningType.IGNORED_INVALID_TIMESTAMP
    return micros, None


def _why(timestamp: Any) -> WarningType:
    """Tell a date of a year that does not exist from what is no date at all."""
    year = _YEAR.match(timestamp) if isinstance(timestamp, str) else None
    if year is not None and len(year[1]) >= 4 and not 1 <= int(year[1][:9]) <= 9999:
        return WarningType.IGNORED_INVALID_TIMESTAMP
    return WarningType.INVALID_EVENT_TIMESTAMP
