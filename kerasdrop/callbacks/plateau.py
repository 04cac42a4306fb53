"""When a metric has stopped improving."""

from kerasdrop._types import Config
from kerasdrop._types import Given


class Plateau:
    """Counts epochs without improvement, as `ReduceLROnPlateau` does.

    Args:
        patience: Integer, the number of such epochs that makes a plateau.
        maximised: Boolean, whether larger is better.
        min_delta: Float, the smallest change that counts as an improvement.
        cooldown: Integer, the number of epochs that do not count after
            `start_cooldown()`.
    """

    def __init__(
        self, patience: int, maximised: bool, min_delta: float, cooldown: int
    ) -> None:
        self.patience = patience
        self.maximised = maximised
        self.min_delta = min_delta
        self.cooldown = cooldown
        self.reset()

    def reset(self) -> None:
        self._best = None
        self._wait = 0
        self._cooldown_left = 0

    def update(self, value: Given) -> bool:
        """Takes the metric of an epoch; returns whether it is a plateau."""
        if self._cooldown_left > 0:
            self._cooldown_left -= 1
            self._wait = 0
        if self._improves(value):
            self._best = value
            self._wait = 0
        elif self._cooldown_left == 0:
            self._wait += 1
        return self._wait >= self.patience

    def start_cooldown(self) -> None:
        """Begins the cooldown; call it after rates were changed."""
        self._wait = 0
        self._cooldown_left = self.cooldown

    def _improves(self, value: Given) -> bool:
        if self._best is None:
            return True
        if self.maximised:
            return value - self.min_delta > self._best
        return value + self.min_delta < self._best

    def get_state(self) -> Config:
        """The state as a dict of numbers, for JSON."""
        return {
            "best": self._best,
            "wait": self._wait,
            "cooldown_left": self._cooldown_left,
        }

    def set_state(self, state: Config) -> None:
        self._best = state["best"]
        self._wait = state["wait"]
        self._cooldown_left = state["cooldown_left"]
