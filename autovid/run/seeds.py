"""Random numbers as pure functions of (seed, name, index): nothing to store, and a resumed run draws the same."""

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, name: str, index: int) -> int:
    """63 bits from the sha256 of (seed, name, index)."""
    digest = hashlib.sha256(f"{seed}\0{name}\0{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def step_generator(seed: int, name: str, index: int) -> torch.Generator:
    """A fresh CPU generator for one purpose (`name`) in one step or epoch (`index`)."""
    return torch.Generator().manual_seed(derive_seed(seed, name, index))


def seed_step(seed: int, index: int) -> None:
    """Seeds the global random state of Python, NumPy and torch (all devices: dropout) for step `index`."""
    value = derive_seed(seed, "step", index)
    random.seed(value)
    np.random.seed([value & 0xFFFFFFFF, value >> 32])
    torch.manual_seed(value)
