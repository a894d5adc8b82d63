"""When a message of a stream arrived: what the edge has stamped on it, else when its broker took it; whatever senders write there."""

import logging

from schemas.limits import EARLIEST_ARRIVAL, MAX_ARRIVAL_APART
from transforms.metrics import Metric, count
from transforms.parse.timestamps import parse_arrival

logger = logging.getLogger(__name__)

NOW = "now"  # the header, or the attribute, in which the edge writes the time of arrival
AHEAD = 86_400_000_000  # microseconds by which a broker's clock may be ahead


def broker_time(micros: int, now: int) -> int:
    """Return when a broker took a message, microseconds since 1970; 0 if it cannot have been then.

    Producers may set Kafka's time as they like: in the wrong unit, to 0, to next year.

    Args:
        micros: what the broker says.
        now: when the message was read.
    """
    return micros if EARLIEST_ARRIVAL <= micros <= now + AHEAD else 0


class Arrivals:
    """Tell when messages of a stream arrived.

    Args:
        where: the stream, for people.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._has_warned = False

    def of(self, stamp: bytes | str, took: int) -> int:
        """Return the arrival of a message that was stamped, microseconds since 1970; 0 if nobody knows.

        Args:
            stamp: what the edge wrote.
            took: `broker_time`; a stamp that is more than a week from it is not believed.
        """
        stamped = parse_arrival(stamp if isinstance(stamp, str) else stamp.decode(errors="replace"))
        if stamped is None:
            return took
        if took and abs(stamped - took) > MAX_ARRIVAL_APART:
            self._ignore()
            return took
        return stamped

    def _ignore(self) -> None:
        count(Metric.ARRIVALS_IGNORED, 1)
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s: a message's `now` is more than a week from the broker's time, which is used instead; sluice_arrivals_ignored_total"
                " counts them. Is an edge's clock wrong?",
                self._where,
            )
