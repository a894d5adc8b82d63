"""Which events of a batch are limited, and what their teams are told."""

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from schemas.event import Batch, Event, IngestionWarning
from schemas.reasons import Limit, WarningType
from schemas.teams import Registry, TeamLimits
from transforms.limits.quotas import TEAM_HOURS, Delivery, Quotas, TeamHour

NO_LIMITS = TeamLimits()
HOUR = 3_600_000_000  # microseconds


class Limiter:
    """Mark the events that a team may not send.

    Args:
        quotas: what is left of each team's quota.
    """

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._warned: OrderedDict[TeamHour, Delivery] = OrderedDict()

    def enforce(self, batch: Batch, registry: Registry, now: float, dropped_before: int = 0) -> Batch:
        """Return the batch with `limited` set, and `properties` taken out, where an event is over a limit.

        The batch itself is not changed. Events that are limited already stay so and cost nothing of a quota.

        Args:
            batch: events of any teams.
            registry: the teams' limits as of now.
            now: a monotonic clock, seconds.
            dropped_before: what arrived before is refused, microseconds since 1970.
        """
        limited: dict[int, Limit] = {}
        places: dict[TeamHour, list[int]] = {}
        limits_by_team, defaults = registry.limits, registry.defaults
        for place, event in enumerate(batch.events):
            if event.arrival < dropped_before and not event.limited:
                limited[place] = Limit.DROPPED_DAY
                continue
            limits = limits_by_team.get(event.team_id, defaults)
            if limits == NO_LIMITS or event.limited:
                continue
            if event.distinct_id in limits.drop_distinct_ids:
                limited[place] = Limit.DROP_DISTINCT_IDS
            elif limits.events_per_hour is not None:
                places.setdefault((event.team_id, event.arrival // HOUR * 3600), []).append(place)
        warnings = list(self._enforce_quotas(batch, registry, places, limited, now))
        if not limited:
            return batch
        events = list(batch.events)
        for place, limit in limited.items():
            events[place] = msgspec.structs.replace(events[place], limited=limit.value, properties=b"", facts=(), group_facts=(), copied=())
        return Batch(events, batch.letters, [*batch.warnings, *warnings], batch.keys)

    def _enforce_quotas(
        self, batch: Batch, registry: Registry, places: dict[TeamHour, list[int]], limited: dict[int, Limit], now: float
    ) -> Iterator[IngestionWarning]:
        """Add the events that are over a quota to `limited`; yield one warning a team and hour."""
        self._quotas.expect(places)
        for team_hour, wanted in places.items():
            first = batch.events[wanted[0]]
            delivery = (first.receipt, first.offset, first.index)
            quota = registry.limits_of(first.team_id).events_per_hour or 0
            granted = self._quotas.grant(delivery, team_hour, len(wanted), quota, now)
            limited.update(dict.fromkeys(wanted[granted:], Limit.EVENTS_PER_HOUR))
            if granted < len(wanted) and self._is_first(team_hour, delivery):
                yield _warning(batch.events[wanted[granted]], team_hour, quota)

    def _is_first(self, team_hour: TeamHour, delivery: Delivery) -> bool:
        """Return whether a batch is the first that is limited. Run again, it still is: its first warning may not have been stored."""
        first = self._warned.setdefault(team_hour, delivery)
        if len(self._warned) > TEAM_HOURS:
            self._warned.popitem(last=False)
        return first == delivery


def _warning(event: Event, team_hour: TeamHour, quota: int) -> IngestionWarning:
    details = {"limit": "events_per_hour", "value": quota, "hour": team_hour[1]}
    return IngestionWarning(
        team_id=event.team_id,
        type=WarningType.QUOTA_EXCEEDED.value,
        key=str(team_hour[1]),
        details=msgspec.json.encode(details).decode(),
        count=1,
        arrival=event.arrival,
        receipt=event.receipt,
        offset=event.offset,
    )
