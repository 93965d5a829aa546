import random

import numpy as np
import torch

from autovid.run import derive_seed, seed_step, step_generator


def test_every_part_of_the_key_counts() -> None:
    keys = [(s, n, i) for s in (0, 1, 11) for n in ("a", "b", "1") for i in (0, 1, 11)]
    draws = {torch.randint(2**62, (1,), generator=step_generator(*key)).item() for key in keys}
    assert len(draws) == len(keys)


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derive_seed(0, "step", 0) == 6989824480287944199  # half of the first 8 bytes of sha256(b'0\0step\x000')


def test_the_same_key_draws_the_same() -> None:
    a, b = (torch.randn(5, generator=step_generator(3, "arch", 8)) for _ in range(2))
    assert torch.equal(a, b)  # the same code on the same state


def test_a_generator_leaves_the_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    step_generator(0, "arch", 0)
    assert torch.equal(torch.rand(1), expected)  # as above


def test_all_global_states_are_seeded() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    seed_step(1, 4)
    first = draw()
    draw()
    seed_step(1, 4)
    assert draw() == first
    seed_step(1, 5)
    assert all(a != b for a, b in zip(draw(), first, strict=True))
