"""How far a training run is, for people: a bar where there is a terminal, else a line every now and then."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

FIRST_SECONDS = 10.0  # between two lines
SHARE = 0.02  # of the time so far, where that is longer: a run of a day tells as much as one of an hour


class TrainProgress:
    """Shows steps with their loss and the time that is left.

    Args:
        total: steps of the run.
        say: called with lines for people.
        bar: show a bar where there is a terminal.
        clock: seconds that pass.
    """

    def __init__(self, total: int, say: Callable[[str], None], bar: bool, clock: Callable[[], float] = time.monotonic):
        self.total, self._tell, self._clock = total, say, clock
        self._bar = tqdm(total=total, unit="step", disable=None if bar else True)
        self._begun = self._spoken = clock()
        self._first: int | None = None  # the step before the first one of this process
        self._losses: list[float] = []  # since the last line

    def say(self, line: str) -> None:
        """A line for people, above the bar if there is one."""
        with tqdm.external_write_mode(file=sys.stderr):
            self._tell(line)

    def stepped(self, step: int, loss: float) -> None:
        """Takes note of a step that is done.

        Args:
            step: its number; that of the first one is greater than 1 in a run that is gone on with.
            loss: of its last batch.
        """
        if self._first is None:
            self._first = self._bar.initial = self._bar.n = step - 1
        self._losses.append(loss)
        if not self._bar.disable:
            self._bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
            self._bar.update(step - self._bar.n)
            return
        now = self._clock()
        pause = max(FIRST_SECONDS, SHARE * (now - self._begun))
        if step > self._first + 1 and step < self.total and now - self._spoken < pause:
            return
        loss = sum(self._losses) / len(self._losses)
        seconds = (now - self._begun) / (step - self._first)
        left = "" if step >= self.total else f", {tqdm.format_interval(seconds * (self.total - step))} left"
        self._tell(f"step {step} of {self.total}: loss {loss:.3g}, {seconds:.2g} s a step{left}")
        self._spoken, self._losses = now, []

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
