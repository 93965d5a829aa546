"""A small task for the tests of the loop: a linear model fitted with SGD and momentum, with dropout and samples."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autovid.errors import DivergedError
from autovid.run import RunDirectory, Task, TaskState, step_generator

CONFIG = {"lr": 0.05, "space": {"name": "tiny", "parts": ["sparse", "dense"]}}


class Toy(Task):
    """`ballast` extra floats make saving slow enough to be killed in; `hooks` are called inside the steps named."""

    def __init__(self, steps: int = 10, ballast: int = 0, hooks: dict[int, Callable[[], Any]] | None = None) -> None:
        self.steps, self.hooks = steps, hooks or {}
        torch.manual_seed(0)
        self.net = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.05, momentum=0.9)
        self.alpha = torch.zeros(3)
        self.ballast = torch.arange(ballast, dtype=torch.float32)
        self.count = 0

    def step(self, index: int) -> dict[str, float]:
        x = torch.randn(8, 4, generator=step_generator(7, "batch", index))
        x = torch.nn.functional.dropout(x, 0.5)  # draws from the global state
        loss = (self.net(x) - x.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.alpha += torch.rand(3)
        self.ballast += 1
        self.hooks.get(index, lambda: None)()  # before the count: half a step is done
        self.count += 1
        return {"loss": loss.item(), "count": self.count}

    def state(self) -> TaskState:
        model = {**self.net.state_dict(), "ballast": self.ballast}
        info = {"count": self.count, "part": "sparse"}
        return TaskState(model, {"sgd": self.optimizer.state_dict()}, {"alpha": self.alpha}, info)

    def load(self, state: TaskState) -> None:
        self.net.load_state_dict({name: state.model[name] for name in ("weight", "bias")})
        self.ballast = state.model["ballast"]
        self.optimizer.load_state_dict(state.optim["sgd"])
        self.alpha = state.search["alpha"]
        self.count = state.info["count"]

    def status(self) -> str:
        return "sparse · 1.62 GFLOPs"

    def probabilities(self, index: int) -> dict[str, list[float]]:
        return {"alpha": self.alpha.softmax(0).tolist()} if index % 2 == 0 else {}

    def milestone(self, done: int) -> bool:
        return done == 4


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def diverge() -> None:
    raise DivergedError("the loss is nan at step 5; lower the learning rate")


def slow() -> None:
    time.sleep(0.01)


def start(path: Path, resume: bool = False) -> RunDirectory:
    return RunDirectory.create_or_resume(path, CONFIG, kind="search", resume=resume)


def same(a: TaskState, b: TaskState) -> bool:
    """Bit for bit: a step sums eight numbers, too few to share among threads, and a checkpoint keeps every byte."""
    tensors = [{**s.model, **s.search, "v": s.optim["sgd"]["state"][0]["momentum_buffer"]} for s in (a, b)]
    equal = all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    return equal and tensors[0].keys() == tensors[1].keys() and a.info == b.info
