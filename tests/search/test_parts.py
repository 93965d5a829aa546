"""A part of the search may decide any subset of decisions: it learns these and no others."""

from pathlib import Path

import numpy as np
import pytest
import torch

from autovid.data import open_videos
from autovid.kernels.compute import Compute
from autovid.search import settings_for
from autovid.search.prior import Prior
from autovid.search.task import SearchTask
from autovid.space import SearchSpace
from autovid.space.decisions import is_searched_in


def test_a_prior_learns_what_its_part_opens_and_leaves_the_rest_uniform(split_space: SearchSpace) -> None:
    there, part = split_space.part_space(0, {}), split_space.parts[0]
    prior = Prior(there, part)
    assert set(prior.tensors()) == {name for name in there.candidates if name.endswith("width")}
    with torch.no_grad():
        for alpha in prior.alpha:
            alpha[0] = 50.0
    rows = prior.sample(600, torch.Generator().manual_seed(0))
    for d, (decision, logp) in enumerate(zip(there.decisions, prior.log_probs(), strict=True)):
        size = len(decision.candidates)
        if is_searched_in(part, decision.name):
            assert (rows[:, d] == 0).all()
        else:
            assert np.exp(logp) == pytest.approx(np.full(size, 1 / size))  # float64, two roundings
            counts = torch.bincount(rows[:, d], minlength=size)
            assert ((counts - 600 / size).abs() < 6 * (600 / size) ** 0.5).all()  # six deviations
    assert prior.log_prob(rows).abs().max() < 1e-9  # log(1 + 3 exp(-50)) is 0 in float64
    assert prior.uniform_entropy() == pytest.approx(sum(np.log(len(alpha)) for alpha in prior.alpha))


def test_a_search_in_such_parts_keeps_what_each_has_learned(split_space: SearchSpace, tiny_videos: Path) -> None:
    settings = settings_for(
        split_space,
        proxy=True,
        videos=12,
        steps=2,
        samples=2,
        batch=4,
        crop=16,
        jitter=(16, 20),
        flops=("0.0075:0.008",),
    )
    task = SearchTask(split_space, open_videos(tiny_videos), settings, Compute("cpu", "fp32"))
    learned: dict[str, torch.Tensor] = {}
    for step in range(task.steps):
        task.step(step)
        part = split_space.parts[task.number]
        assert all(is_searched_in(part, name) for name in task.prior.tensors())
        assert all(torch.equal(task.learned[name], learned[name]) for name in task.learned)  # copies
        learned |= task.prior.tensors()
    assert learned.keys() == {d.name for d in split_space.decisions if len(d.candidates) > 1}
    task._leave()
    macs = split_space.fix(task.chosen).cost_table()
    assert 7_500_000 <= macs.smallest()[0] == macs.largest()[0] <= 8_000_000
