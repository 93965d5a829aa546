"""A run that is told to stop in a step of its own, as a user or a cluster would tell it."""

import signal

from autovid.run import Progress


class StopAt(Progress):
    """A display that sends its process a signal (Ctrl-C) when step `step` is done."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.step, self.number = step, number

    def update(self, done: int, status: str, metrics: dict[str, float]) -> None:
        if done == self.step:
            signal.raise_signal(self.number)
