"""What the loop knows of searching and training: a task has state, steps and metrics; nothing else."""

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
        """Does step `index` (from 0) and returns scalars to log; "loss" is shown. Raises DivergedError."""

    @abstractmethod
    def state(self) -> TaskState:
        """Everything needed to go on after the steps done so far."""

    @abstractmethod
    def load(self, state: TaskState) -> None:
        """Takes up a saved state; tensors come on the CPU, contiguous."""

    def status(self) -> str:
        """Short text for the progress display: "sparse · 1.62 GFLOPs (target 1.37–1.43)"."""
        return ""

    def milestone(self, done: int) -> bool:
        """True if the state after `done` steps (the end of a part, say) is to be kept for good."""
        return False

    def notices(self) -> list[str]:
        """New lines for the terminal and the log since the last call: "the part sparse has not moved"."""
        return []

    def probabilities(self, index: int) -> dict[str, list[float]]:
        """Distributions that are learned, by name, as they are after step `index`; empty where none are to be recorded.

        Asked for after every step; what is given goes to probabilities.jsonl.
        """
        return {}

    def histograms(self) -> dict[str, torch.Tensor]:
        """Tensors for TensorBoard's histograms, asked for every `image_every` steps."""
        return {}

    def images(self) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
        """Pictures (height, width, 3) for TensorBoard, asked for every `image_every` steps."""
        return {}
