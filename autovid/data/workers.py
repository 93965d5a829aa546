"""Tasks worked off in order, in this process or in a few worker processes."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

State = TypeVar("State")
Task = TypeVar("Task")
Result = TypeVar("Result")


def run_in_order(
    work: Callable[[State, Task], Result], state: State, tasks: Iterable[Task], workers: int
) -> Iterator[Result]:
    """work(state, task) for each task, in order."""
    return (work(state, task) for task in tasks)
