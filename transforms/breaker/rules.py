"""The last batches of a stream and its history in; out, whether so many are rejected because of a fault of our own.

Three things must come together (docs/breaker.md says why):
- more than a share of the events are rejected, those of the one sender who has most of them left out;
- teams are missing: of the traffic that the history lets expect, too little is of teams that are still accepted;
- and more than the share is rejected still without what cannot be of those teams, who may just be asleep.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import exp
from typing import NamedTuple

from transforms.breaker.window import Seen, Sender

MIN_EVENTS = 200  # fewer are no evidence
MIN_EXPECTED = 100  # events, nor are fewer of these by history
MIN_TEAMS = 2  # besides the largest that is missing
QUIET = 0.1  # of what history lets expect comes at night
TOKENS = 3  # of a team, that send at the same time
LEAST_OF_SENDER = 2  # events: whoever sends one is nobody that was known before

History = Mapping[str, Mapping[int, float]]
"""Events a second by source and team, as they were accepted before."""


class Sample:
    """Some batches, added up."""

    def __init__(self) -> None:
        self.events = self.rejected = 0
        self.accepted: Counter[int] = Counter()
        self.senders: Counter[Sender] = Counter()
        self.reasons: Counter[str] = Counter()
        self._times: dict[str, tuple[int, int]] = {}

    def add(self, seen: Seen) -> None:
        """Add a batch."""
        self.events += seen.events
        self.rejected += seen.rejected
        self.accepted.update(seen.accepted)
        self.senders.update(seen.senders)
        self.reasons.update(seen.reasons)
        first, last = self._times.get(seen.source, (seen.first, seen.last))
        self._times[seen.source] = min(first, seen.first), max(last, seen.last)

    @property
    def of_one_sender(self) -> int:
        """How many events were rejected of the sender who has most of them."""
        return max(self.senders.values(), default=0)

    def is_suspicious(self, share: float) -> bool:
        """Return whether more than a share is rejected of all but that sender's."""
        return self._is_over(share, self.rejected)

    def has_lost(self, share: float, expected: Mapping[int, float]) -> bool:
        """Return whether more than a share is rejected of all but that sender's, and what cannot be of the teams that are missing.

        These are no more senders than such teams may have tokens, each with more than one event. If there are others, only what the
        greatest have more than those counts. Events whose sender cannot be told may be anybody's: they count where hardly anybody is
        accepted.
        """
        missing = sum(1 for team in expected if not self.accepted.get(team))
        greatest = [count for _, count in self.senders.most_common(2 + TOKENS * missing)]
        others = greatest[-1] if len(greatest) == 2 + TOKENS * missing else 0
        theirs = sum(count - others for count in greatest if count >= LEAST_OF_SENDER)
        accepted = sum(min(self.accepted.get(team, 0), count) for team, count in expected.items())
        anybodys = self.rejected - self.senders.total()
        hardly = accepted < QUIET * min(self.events - self.of_one_sender, sum(expected.values()))
        return self._is_over(share, theirs + (anybodys if hardly else 0))

    def _is_over(self, share: float, rejected: int) -> bool:
        events = self.events - self.rejected + rejected
        return rejected - self.of_one_sender > share * (events - self.of_one_sender)

    def expected(self, history: History) -> dict[int, float]:
        """Return how many events of each team should be there, by the time in which these messages arrived."""
        teams: Counter[int] = Counter()
        for source, (first, last) in self._times.items():
            for team, rate in history.get(source, {}).items():
                teams[team] += rate * (last - first) / 1e6  # type: ignore[assignment]  # a Counter of floats
        return dict(teams)


class Coverage(NamedTuple):
    """How much of the usual traffic is of teams that are still accepted.

    Attributes:
        found: their share.
        usual: the share that so many events of healthy traffic would have.
    """

    found: float
    usual: float


def coverage(accepted: Mapping[int, int], expected: Mapping[int, float], events: int) -> Coverage | None:
    """Return the coverage of the teams without the largest that is missing; None if there is no evidence.

    A few events are of few teams, so like is compared with like: `usual` is the mean over random draws from the history. There are as
    many draws as events were accepted, no team's for more than was expected of it; and not fewer than would come at night.

    Args:
        accepted: events by team.
        expected: events by team, by the history.
        events: all that were read, good and bad, of all but one sender.
    """
    missing = [team for team in expected if not accepted.get(team)]
    largest = max(missing, key=lambda team: expected[team], default=None)
    others = {team: count for team, count in expected.items() if team != largest}
    total = sum(others.values())
    ordinary = min(float(events), total)
    if len(others) < MIN_TEAMS or ordinary < MIN_EXPECTED:
        return None
    draws = max(sum(min(accepted.get(team, 0), max(1.0, count)) for team, count in others.items()), QUIET * ordinary)
    shares = {team: count / total for team, count in others.items()}
    found = sum(share for team, share in shares.items() if accepted.get(team))
    return Coverage(found, sum(share * (1 - exp(-draws * share)) for share in shares.values()))


def judge(newest_first: Iterable[Seen], history: Callable[[], History], share: float) -> str:
    """Return why the breaker opens, or nothing.

    The newest batches are judged first, and then ever more of them: an outbreak shows at once, and small evidence adds up.

    Args:
        newest_first: the batches of one stream.
        history: is asked for only if too many events are rejected.
        share: of the events.
    """
    for sample in _samples(newest_first):
        if not sample.is_suspicious(share):
            break
        expected = sample.expected(history())
        found = coverage(sample.accepted, expected, sample.events - sample.of_one_sender)
        if found is not None and found.found < (1 - share) * found.usual and sample.has_lost(share, expected):
            return _said(sample, expected)
    return ""


def judge_few(newest_first: Iterable[Seen], share: float) -> str:
    """Return the same for fewer events than are evidence, where the breaker was open before: they wait until there are more.

    Args:
        newest_first: the batches of one stream.
        share: of the events.
    """
    sample = Sample()
    for seen in newest_first:
        sample.add(seen)
    return _said(sample, {}) if sample.events < MIN_EVENTS and sample.is_suspicious(share) else ""


def _samples(newest_first: Iterable[Seen]) -> Iterator[Sample]:
    """Yield the sum of the newest batches, each time of twice as many events, and of all of them."""
    sample, told = Sample(), 0
    for seen in newest_first:
        sample.add(seen)
        if sample.events >= max(MIN_EVENTS, 2 * told):
            told = sample.events
            yield sample
    if sample.events >= max(MIN_EVENTS, told + 1):
        yield sample


def _said(sample: Sample, expected: Mapping[int, float]) -> str:
    still = sum(1 for team in expected if sample.accepted.get(team))
    reasons = ", ".join(reason for reason, _ in sample.reasons.most_common(2))
    teams = f"{still:,} of {len(expected):,} teams accepted" if expected else "as before"
    return f"{sample.rejected / sample.events:.0%} of the last {sample.events:,} events rejected ({reasons}), {teams}"
