"""The interface between the loop and long work (search, training), and random numbers for its steps.

Random numbers are pure functions of (seed, name, index): there is nothing to store, and a resumed run draws the same.
"""

import hashlib
import random
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch


@dataclass
class TaskState:
    """Everything a task needs to go on. Tensors may be live ones: they are copied when the state is saved."""

    model: dict[str, torch.Tensor] = field(default_factory=dict)  # model.safetensors
    optim: dict[str, Any] = field(default_factory=dict)  # optim.pt: nested dicts, lists, tensors, plain values
    search: dict[str, torch.Tensor] = field(default_factory=dict)  # search.safetensors
    info: dict[str, Any] = field(default_factory=dict)  # state.json: what JSON keeps unchanged


class Task(Protocol):
    """Long work in steps. Inherit from this class: the hooks below `status` then have their defaults.

    The loop seeds Python's, NumPy's and torch's global random state before every step from (seed, index), so a step
    must be a function of the state and its index; samplers of its own draw from `step_generator`.
    """

    steps: int  # total number of steps

    @abstractmethod
    def step(self, index: int) -> dict[str, float]:
        """Do step `index` (from 0) and return scalars to log; "loss" is shown. Raises DivergedError."""

    @abstractmethod
    def state(self) -> TaskState:
        """Return everything needed to go on after the steps done so far."""

    @abstractmethod
    def load(self, state: TaskState) -> None:
        """Restore a saved state; its tensors are on the CPU and contiguous."""

    def status(self) -> str:
        """Return a short text for the progress display: "sparse · 1.62 GFLOPs (target 1.37–1.43)"."""
        return ""

    def milestone(self, done: int) -> bool:
        """Return True if the state after `done` steps (the end of a part, say) is to be kept for good."""
        return False

    def best(self) -> int | None:
        """Return the number of steps after which the state was the best so far; None where nothing is compared.

        The loop saves that state, and keeps it beside the last ones until there is a better one.
        """
        return None

    def ended(self) -> bool:
        """Return True if the task is finished before its last step."""
        return False

    def notices(self) -> list[str]:
        """Return new lines for the terminal and the log since the last call: "the part sparse has not moved"."""
        return []

    def probabilities(self, index: int) -> dict[str, list[float]]:
        """Return the learned distributions after step `index`, by name, for probabilities.jsonl; empty: record none.

        The loop calls it after every step.
        """
        return {}

    def histograms(self) -> dict[str, torch.Tensor]:
        """Return tensors for TensorBoard's histograms; the loop calls it at milestones."""
        return {}

    def images(self) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
        """Return pictures (height, width, 3) for TensorBoard; the loop calls it at milestones."""
        return {}


def derive_seed(seed: int, name: str, index: int) -> int:
    """Return 63 bits of the sha256 of (seed, name, index)."""
    digest = hashlib.sha256(f"{seed}\0{name}\0{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def step_generator(seed: int, name: str, index: int) -> torch.Generator:
    """Return a fresh CPU generator for one purpose (`name`) in one step or epoch (`index`)."""
    return torch.Generator().manual_seed(derive_seed(seed, name, index))


def seed_step(seed: int, index: int) -> None:
    """Seed the global random state of Python, NumPy and torch (all devices: dropout) for step `index`."""
    value = derive_seed(seed, "step", index)
    random.seed(value)
    np.random.seed([value & 0xFFFFFFFF, value >> 32])
    torch.manual_seed(value)
