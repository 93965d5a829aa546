"""A small task for the tests: a linear model fitted with SGD and momentum, with dropout and its own samples."""

from typing import Any

import torch

from autovid.run import Task, TaskState, step_generator


class Toy(Task):
    """`ballast` extra floats in the state make saving slow enough to be killed in."""

    def __init__(self, steps: int = 10, ballast: int = 0) -> None:
        self.steps = steps
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
        self.count += 1
        return {"loss": loss.item(), "count": self.count}

    def state(self) -> TaskState:
        model: dict[str, Any] = {**self.net.state_dict(), "ballast": self.ballast}
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

    def milestone(self, done: int) -> bool:
        return done == 4


def same(a: TaskState, b: TaskState) -> bool:
    """Bit for bit."""
    momentum = [s.optim["sgd"]["state"][0]["momentum_buffer"] for s in (a, b)]
    tensors = [torch.equal(a.model[k], b.model[k]) for k in a.model] + [torch.equal(*momentum)]
    return all(tensors) and torch.equal(a.search["alpha"], b.search["alpha"]) and a.info == b.info
