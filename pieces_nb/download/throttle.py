"""How often what changes is shown: the latest value wins, the first and the last of a burst always pass.

No clock: callers pass `now`. One `UpdateBudget` bounds all bars together; a `Throttle` is one bar's share of it.
"""

from __future__ import annotations

from pieces_nb.locks import Lock

INTERVAL_S = 0.1
MOST_PER_S = 45.0  # of the bars; the line with their total comes on top
TOTAL_INTERVAL_S = 0.5
SLACK = 1.08  # were the budget spent to the last, some bars would always come too late for their turn


class UpdateBudget:
    """A bound on the updates of all running bars together. Thread-safe."""

    def __init__(self, *, interval_s: float = INTERVAL_S, most_per_s: float = MOST_PER_S) -> None:
        self._interval_s = interval_s
        self._most_per_s = most_per_s
        self._lock = Lock()  # guards the three below
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nothing runs: at the beginning, and in a child of `fork`."""
        self._running = 0
        self._left = 1.0
        self._counted_at = 0.0

    def join(self) -> None:
        with self._lock:
            self._running += 1

    def leave(self) -> None:
        with self._lock:
            self._running -= 1

    @property
    def interval_s(self) -> float:
        """The time between two updates of one bar: the more bars run, the longer."""
        return max(self._interval_s, self._running / self._most_per_s * SLACK)

    @property
    def rest_s(self) -> float:
        """How long a bar's news may lie unread: no time while few bars run, a part of the wait for its next turn then.

        A hundred threads that wake for every frame cost more than all that is shown.
        """
        return (self.interval_s - self._interval_s) / 2.5

    def turn(self, now: float) -> float:
        """Spend one update, and return when it may be shown: now, or when those before it have been.

        Whoever is told a later time keeps it; asking again and again would cost more than what is shown.
        """
        with self._lock:
            # At most a tenth of a second's worth is saved up, so that a burst stays within the rate as well.
            most = max(1.0, self._most_per_s * self._interval_s)
            self._left = min(most, self._left + max(0.0, now - self._counted_at) * self._most_per_s)
            self._counted_at = now
            self._left -= 1.0
            return now + max(0.0, -self._left) / self._most_per_s


class Throttle:
    """When one bar may be updated. Used by one thread."""

    def __init__(self, budget: UpdateBudget) -> None:
        self._budget = budget
        self._next_at = float("-inf")
        self._waiting = False
        self._has_turn = False  # one is spent already, for _next_at

    def changed(self) -> None:
        """Say that there is something new to show; nothing is shown twice for two of these."""
        self._waiting = True

    def due(self, now: float) -> bool:
        """Whether to show it now; True spends the turn."""
        if not self._waiting or now < self._next_at:
            return False
        if not self._has_turn:
            self._next_at = self._budget.turn(now)
            self._has_turn = True
            if now < self._next_at:
                return False
        self._waiting = self._has_turn = False
        self._next_at = now + self._budget.interval_s
        return True

    def rest_s(self, now: float) -> float:
        """Return how long not to look for news: there is a turn for them no sooner."""
        return min(self._budget.rest_s, self.wait_s(now, otherwise=self._budget.rest_s))

    def wait_s(self, now: float, *, otherwise: float) -> float:
        """Return how long until there may be a turn; `otherwise` while there is nothing to show."""
        return max(0.0, self._next_at - now) if self._waiting else otherwise
