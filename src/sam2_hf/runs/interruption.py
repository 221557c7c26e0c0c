"""Ctrl-C and SIGTERM: the first lets what is at hand be finished, the second stops at once."""

import signal
import threading
from collections.abc import Callable


class Interruption:
    """Listens while it is entered.

    Args:
        then: called at the first signal.

    Attributes:
        requested: whether the command was asked to stop.
    """

    def __init__(self, then: Callable[[], None] = lambda: None):
        self._then = then
        self.requested = False
        self._before: dict = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # only there signals can be listened to
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._then()


def status_of(error: BaseException) -> str:
    """What `run.json` says of a run that an error ended."""
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
