"""Receipts as hypothesis draws them, and the reports that they come in."""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
from hypothesis import strategies as st

from schemas.outcomes import Outcome, Report, Tally

HOURS = [1_795_000_000 // 3600 * 3600 + 3600 * hour for hour in range(2)]
ENDS = [(Outcome.STORED, ""), (Outcome.DUPLICATE, ""), (Outcome.LIMITED, "events_per_hour"), (Outcome.REJECTED, "missing_token")]

Key = tuple[int, int, int, str]  # team, hour, outcome, reason


class Receipt(msgspec.Struct):
    """A receipt whose reports are in some order.

    Attributes:
        source, end: what it covers, from 0.
        messages: how many it holds.
        counts: what all reports add up to.
        reports: at least one, none of them without news.
    """

    number: int
    source: str
    end: int
    messages: int
    counts: dict[Key, int]
    reports: list[Report]

    def tallies(self) -> list[Tally]:
        return [Tally(*key, count) for key, count in sorted(self.counts.items())]


@st.composite
def receipts(draw: Callable, number: int | None = None) -> Receipt:
    """Draw messages of events, each event with its outcome, and cut the news of them into reports in any order."""
    number = draw(st.integers(0, 2**64 - 1)) if number is None else number
    event = st.tuples(st.sampled_from([0, 1, 2**62]), st.sampled_from(HOURS), st.sampled_from(ENDS))
    messages = draw(st.lists(st.lists(event, max_size=4), max_size=6))
    end = draw(st.integers(0, 2**63))
    reports = [Report(number, read=len(messages), source="f", start=0, end=end)]
    for parsed in _cut(draw, messages):
        received = Counter((team, hour, int(Outcome.RECEIVED), "") for message in parsed for team, hour, _ in message)
        reports.append(Report(number, _tallies(draw, received), parsed=len(parsed)))
    events = draw(st.permutations([event for message in messages for event in message]))
    for dealt_with in _cut(draw, events):
        outcomes = Counter((team, hour, int(outcome), reason) for team, hour, (outcome, reason) in dealt_with)
        reports.append(Report(number, _tallies(draw, outcomes)))
    counts = Counter[Key]()
    for team, hour, (outcome, reason) in events:
        counts.update([(team, hour, 0, ""), (team, hour, int(outcome), reason)])
    return Receipt(number, "f", end, len(messages), dict(counts), draw(st.permutations(reports)))


def _cut(draw: Callable, items: Sequence) -> list[Sequence]:
    """Cut a list into parts that are not empty."""
    places = sorted(draw(st.sets(st.integers(1, len(items) - 1)))) if len(items) > 1 else []
    return [items[low:high] for low, high in zip([0, *places], [*places, len(items)], strict=True)] if items else []


def _tallies(draw: Callable, counts: Counter[Key]) -> list[Tally]:
    """Say some counts in any order, and some of them in two tallies."""
    found = []
    for key, count in counts.items():
        part = draw(st.integers(0, count - 1))
        found += [Tally(*key, part)] * (part > 0) + [Tally(*key, count - part)]
    return draw(st.permutations(found))


@st.composite
def crowds(draw: Callable) -> tuple[dict[int, Receipt], list[Report]]:
    """Draw several receipts and all their reports in one order."""
    numbers = draw(st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    found = {number: draw(receipts(number)) for number in numbers}
    return found, draw(st.permutations([report for receipt in found.values() for report in receipt.reports]))
