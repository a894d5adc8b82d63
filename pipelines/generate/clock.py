"""When events arrive: ascending over the days of a plan with jitter, busier by day than by night."""

import numpy as np

from pipelines.generate.draws import DAY_MICROS, Draws, Floats, Ints
from pipelines.generate.plan import Plan, days_since_1970

HOUR_WEIGHTS = (4, 3, 2, 2, 2, 3, 5, 8, 11, 13, 14, 14, 13, 14, 15, 15, 14, 13, 12, 12, 11, 10, 8, 6)
JITTER = 4  # positions


class Clock:
    """Give the arrival of each position.

    Args:
        plan: the days and the number of positions.
        draws: random numbers of the plan's seed.
    """

    def __init__(self, plan: Plan, draws: Draws) -> None:
        self._draws = draws
        self._events = plan.events
        self._days = plan.days
        self.start = days_since_1970(plan) * DAY_MICROS
        self._sent = np.cumsum((0, *HOUR_WEIGHTS)) / sum(HOUR_WEIGHTS)
        self._hours = np.arange(25) / 24

    def arrival(self, position: Ints) -> Ints:
        """Return microseconds since 1970."""
        jittered = position + 0.5 + JITTER * (self._draws.share("jitter", position) - 0.5)
        return self.nominal(np.clip(jittered, 0, self._events - 0.01))

    def nominal(self, position: Floats) -> Ints:
        """Return what `arrival` is without jitter."""
        day, part = np.divmod(position / self._events * self._days, 1.0)
        micros = (day + np.interp(part, self._sent, self._hours)) * DAY_MICROS
        return self.start + np.minimum(micros.astype(np.int64), self._days * DAY_MICROS - 1)
