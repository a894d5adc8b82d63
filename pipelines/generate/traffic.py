"""What happens at each position of a load: who sends what, whether it was sent before, and when.

Everything is a function of (plan, position): a block asks for its own positions, and a duplicate for those of the event that it
repeats, in whatever file that one is.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from pipelines.generate.clock import Clock
from pipelines.generate.draws import Bits, Draws, Flags, Floats, Ints
from pipelines.generate.plan import Plan
from pipelines.generate.teams import PROBE_TEAM, PROBES, QUOTA_TEAM, RETIRED_TEAM, Teams

MINUTE_MICROS = 60_000_000

REPEAT_DAYS = 6  # between an event and its duplicate at most: less than WINDOW_DAYS, for the clock is not even
REPEAT_TRIES = 64  # earlier positions that are tried for one that can be sent again
NO_UUID_SHARE = 0.003
IDENTICAL_SHARE = 0.6  # of the duplicates: the others differ in time, content, person or all of them

QUOTA_SAMPLE = 200_000  # positions that are looked at to tell what a team sends

SESSION_MINUTES = 10  # what a frame of the layout lasts
MIN_FRAME, MAX_FRAME = 256, 65_536
MAX_SESSION = 40  # events

SERVER_SHARE = 0.12  # of the sessions: sent by a backend, for a known user
KNOWN_SHARE = 0.6  # of the users have an account
LOGIN_SHARE = 0.25  # of the sessions of those begin anonymous
LOGIN_STEP = 2


class Fate(IntEnum):
    """What a position is for."""

    FIRST = 0
    DUPLICATE = 1
    INVALID = 2


class Dropped(IntEnum):
    """Why a position is limited whatever else arrives."""

    NO = 0
    TOKEN = 1
    DISTINCT_ID = 2


class Kind(IntEnum):
    """What an event is about."""

    PAGEVIEW = 0
    AUTOCAPTURE = 1
    PAGELEAVE = 2
    CUSTOM = 3
    FLAG = 4
    SET = 5
    GROUP = 6
    EXCEPTION = 7
    IDENTIFY = 8
    SERVER = 9
    SERVER_SET = 10
    SERVER_GROUP = 11
    ALIAS = 12
    MERGE = 13


FIRST_SERVER_KIND = Kind.SERVER  # that one and those after it come from a backend
_WEB_KINDS = (Kind.AUTOCAPTURE, Kind.PAGEVIEW, Kind.CUSTOM, Kind.FLAG, Kind.SET, Kind.GROUP, Kind.EXCEPTION)
_WEB_WEIGHTS = (45, 22, 24, 5, 1.5, 1.5, 1)
_SERVER_KINDS = (Kind.SERVER, Kind.SERVER_SET, Kind.SERVER_GROUP, Kind.ALIAS, Kind.MERGE)
_SERVER_WEIGHTS = (90, 5, 3.5, 1, 0.5)


@dataclass(frozen=True)
class Rows:
    """What happens at some positions, a column an aspect.

    Attributes:
        position: in the load.
        fate: a Fate.
        source: the position whose uuid it has: of the first event for a duplicate, else its own.
        what: the position whose content it has.
        team: its id.
        token: index in `Teams.tokens`.
        dropped: a Dropped.
        session: a number for its frame and session.
        user: 64 bits that stand for the person; known: whether the event names them by their account.
        number: the person's number in the team, from 1.
        kind: a Kind.
        has_uuid: whether the client set one.
        arrival: microseconds since 1970 when the edge takes it.
        moment: of the event, by the client's clock; skew: what that clock is ahead.
    """

    position: Ints
    fate: Ints
    source: Ints
    what: Ints
    team: Ints
    token: Ints
    dropped: Ints
    session: Ints
    user: Bits
    number: Ints
    known: Flags
    kind: Ints
    has_uuid: Flags
    arrival: Ints
    moment: Ints
    skew: Ints

    def __len__(self) -> int:
        return len(self.position)

    def take(self, places: Ints) -> "Rows":
        """Return some of the rows."""
        return Rows(*(getattr(self, name)[places] for name in self.__dataclass_fields__))


class Traffic:
    """Tell what happens at each position of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.draws = Draws(plan.seed)
        self.teams = Teams(plan, self.draws)
        self.clock = Clock(plan, self.draws)
        self.frame = _frame_size(plan)
        self._session, self._step, self._left = _layout(self.frame, self.draws)
        self._reach = max(1, plan.events * REPEAT_DAYS // max(plan.days, REPEAT_DAYS))

    def rows(self, position: Ints) -> Rows:
        """Return what happens at positions."""
        fate, source = self._fates(position)
        session = self._sessions(source)
        team = self.teams.of_sessions(session)
        changes = self._changes(position, fate)
        who = np.where(changes[:, 0], position, session)
        what = np.where(changes[:, 1], position, source)
        when = np.where(changes[:, 2], position, source)
        token = self.teams.tokens_of(team, session)
        number = self._numbers(team, who)
        user = self.draws.bits("user", (team << 32) + number)
        kind, known = self._kinds(source, what, session, user, changes[:, 1])
        skew = self._skews(user)
        arrival = self.clock.arrival(position)
        return Rows(
            position=position,
            fate=fate,
            source=source,
            what=what,
            team=team,
            token=token,
            dropped=self._dropped(team, token, session),
            session=session,
            user=user,
            number=number,
            known=known,
            kind=kind,
            has_uuid=self._has_uuid(source),
            arrival=arrival,
            moment=self._moments(when) + skew,
            skew=skew,
        )

    def events_per_hour(self) -> int | None:
        """Return the quota of the team that has one: the plan's share of what it sends in an average hour, or None."""
        plan = self.plan
        if plan.quota == 0 or plan.teams < QUOTA_TEAM:
            return None
        step = -(-plan.events // QUOTA_SAMPLE)
        sample = np.arange(0, plan.events, step)
        accepted = self._wishes(sample) == Fate.FIRST
        sent = step * np.count_nonzero(accepted & (self.teams.of_sessions(self._sessions(sample)) == QUOTA_TEAM))
        hours = 24 * plan.days if plan.has_arrivals else 1
        return max(1, int(sent / hours * plan.quota))

    def session_start(self, session: Ints) -> Ints:
        """Return when a session's frame began, microseconds since 1970."""
        return self.clock.nominal((session // self.frame * self.frame).astype(np.float64))

    def _fates(self, position: Ints) -> tuple[Ints, Ints]:
        """Return each position's fate, and the position that it repeats or itself."""
        fate = self._wishes(position)
        source = position.copy()
        open_places = np.flatnonzero(fate == Fate.DUPLICATE)
        for attempt in range(REPEAT_TRIES):
            if not len(open_places):
                break
            asking = position[open_places]
            back = 1 + self.draws.log_below(f"back {attempt}", asking, np.clip(asking, 1, self._reach))
            earlier = asking - back
            good = self._repeatable(earlier)
            source[open_places[good]] = earlier[good]
            open_places = open_places[~good]
        fate[open_places] = Fate.FIRST
        return fate, source

    def _wishes(self, position: Ints) -> Ints:
        """Return each position's fate, if only each duplicate finds an event to repeat."""
        share = self.draws.share("fate", position)
        plan = self.plan
        fate = np.where(share < plan.invalid, Fate.INVALID, Fate.FIRST)
        fate[(share >= plan.invalid) & (share < plan.invalid + plan.duplicates)] = Fate.DUPLICATE
        return fate.astype(np.int64)

    def _repeatable(self, position: Ints) -> Flags:
        """Return whether an event may be sent again and is then a duplicate, whichever of the two comes first.

        It needs a uuid, must not be rejected or limited, and its team must have no quota: what is left of that depends on order.
        """
        session = self._sessions(position)
        team = self.teams.of_sessions(session)
        first = (position >= 0) & (self._wishes(position) == Fate.FIRST) & self._has_uuid(position)
        dropped = self._dropped(team, self.teams.tokens_of(team, session), session)
        found: Flags = first & (team != QUOTA_TEAM) & (dropped == Dropped.NO)
        return found

    def _has_uuid(self, source: Ints) -> Flags:
        return self.draws.share("has uuid", source) >= NO_UUID_SHARE

    def _changes(self, position: Ints, fate: Ints) -> Flags:
        """Return what of a duplicate is not as it was first: person, content, time; shape (n, 3)."""
        share = self.draws.share("changes", position)
        pick = np.clip(((share - IDENTICAL_SHARE) / (1 - IDENTICAL_SHARE) * 4).astype(np.int64), 0, 3)
        changed = (fate == Fate.DUPLICATE) & (share >= IDENTICAL_SHARE)
        table = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0], [1, 1, 1]], np.bool_)
        found: Flags = table[pick] & changed[:, None]
        return found

    def _sessions(self, position: Ints) -> Ints:
        frame, slot = np.divmod(position, self.frame)
        return frame * self.frame + self._session[slot]

    def _numbers(self, team: Ints, who: Ints) -> Ints:
        """Return the person's number in the team; small ones come often."""
        share = self.draws.share("who", who)
        found: Ints = (self.teams.users[team] * share * share).astype(np.int64)
        return 1 + found

    def _dropped(self, team: Ints, token: Ints, session: Ints) -> Ints:
        probe = (team == PROBE_TEAM) & (self.draws.share("probe", session) < 0.1)
        retired = (team == RETIRED_TEAM) & (token % 2 == 1)
        return np.where(probe, Dropped.DISTINCT_ID, np.where(retired, Dropped.TOKEN, Dropped.NO)).astype(np.int64)

    def probes(self, session: Ints) -> Ints:
        """Return which of the probes a dropped session is."""
        return self.draws.below("which probe", session, len(PROBES))

    def _kinds(self, source: Ints, what: Ints, session: Ints, user: Bits, changed: Flags) -> tuple[Ints, Flags]:
        """Return each event's kind, and whether it names the user by their account."""
        slot = source % self.frame
        step, left = self._step[slot], self._left[slot]
        account = self.draws.share("account", user) < KNOWN_SHARE
        server = account & (self.draws.share("server", session) < SERVER_SHARE / KNOWN_SHARE)
        login = account & ~server & (self.draws.share("login", session) < LOGIN_SHARE)
        kind = _pick(_WEB_KINDS, _WEB_WEIGHTS, self.draws.share("kind", what))
        kind[(step == 0) & ~changed] = Kind.PAGEVIEW
        kind[(left == 0) & (step > 0) & ~changed] = Kind.PAGELEAVE
        kind[login & (step == LOGIN_STEP) & ~changed] = Kind.IDENTIFY
        server_kind = _pick(_SERVER_KINDS, _SERVER_WEIGHTS, self.draws.share("kind", what))
        return np.where(server, server_kind, kind), account & ~(login & (step < LOGIN_STEP))

    def _skews(self, user: Bits) -> Ints:
        """Return how far each person's clock is ahead: a second mostly, minutes for some, days for a few."""
        share = self.draws.share("skew class", user)
        bound = np.where(share < 0.9, 1_000_000, np.where(share < 0.98, 600_000_000, 3_600_000_000))
        small = self.draws.below("skew", user, 2 * bound) - bound
        return np.where(share > 0.995, 24 * small, small)

    def _moments(self, when: Ints) -> Ints:
        """Return when events truly happened: seconds before their arrival, or up to three days for late ones."""
        late = self.draws.share("late", when) < self.plan.late
        minutes = 1 + self.draws.log_below("minutes", when, np.full(len(when), 3 * 1440))
        delay = self.draws.below("delay", when, 3_000_000) + np.where(late, minutes * MINUTE_MICROS, 0)
        return self.clock.arrival(when) - delay


def _pick(kinds: tuple[Kind, ...], weights: tuple[float, ...], share: Floats) -> Ints:
    bounds = np.cumsum(weights)[:-1] / sum(weights)
    return np.array(kinds, np.int64)[np.searchsorted(bounds, share, side="right")]


def _frame_size(plan: Plan) -> int:
    """Return a power of two, about the events of SESSION_MINUTES."""
    wanted = plan.events * SESSION_MINUTES // (plan.days * 1440)
    return 1 << (min(MAX_FRAME, max(MIN_FRAME, wanted)).bit_length() - 1)


def _layout(frame: int, draws: Draws) -> tuple[Ints, Ints, Ints]:
    """Return for each slot of a frame its session, its step in it, and how many steps are left; sessions overlap in time."""
    sessions = np.arange(frame)
    lengths = 1 + draws.log_below("length", sessions, np.full(frame, MAX_SESSION))
    session = np.repeat(sessions, lengths)[:frame]
    starts = np.searchsorted(session, session, side="left")
    lengths = np.bincount(session)[session]
    step = np.arange(frame) - starts
    # A session begins anywhere in the first four fifths of the frame, and takes up to a fifth of it.
    begin = draws.below("begin", session, frame * 4)
    gap = draws.below("gap", np.arange(frame), np.maximum(1, 2 * frame // lengths))
    total = np.cumsum(gap)
    moment = begin + total - total[starts]
    order = np.argsort(moment, kind="stable")
    return session[order], step[order], (lengths - step - 1)[order]
