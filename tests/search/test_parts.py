"""A part of the search may decide any subset of decisions: it learns these and no others."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from prior_draws import draw_from

from autovid.data import open_videos
from autovid.kernels.compute import Compute
from autovid.search import parse_constraints, settings_for
from autovid.search.run import supernet_search
from autovid.search.strategies.parsec import Prior
from autovid.space import SearchSpace
from autovid.space.layout import is_searched_in


def test_a_prior_learns_what_its_part_opens_and_leaves_the_rest_uniform(split_space: SearchSpace) -> None:
    part_space, part = split_space.part_space(0, {}), split_space.parts[0]
    prior = Prior(part_space, [d for d, one in enumerate(part_space.decisions) if is_searched_in(part, one.name)])
    assert set(prior.tensors()) == {name for name in part_space.candidates if name.endswith("width")}
    with torch.no_grad():
        for alpha in prior.alpha:
            alpha[0] = 50.0
    rows = draw_from(prior, 600, torch.Generator().manual_seed(0))
    for d, (decision, logp) in enumerate(zip(part_space.decisions, prior.log_probs(), strict=True)):
        size = len(decision.candidates)
        if is_searched_in(part, decision.name):
            assert (rows[:, d] == 0).all()
        else:
            assert np.exp(logp) == pytest.approx(np.full(size, 1 / size))  # float64, two roundings
            counts = torch.bincount(rows[:, d], minlength=size)
            assert ((counts - 600 / size).abs() < 6 * (600 / size) ** 0.5).all()  # six deviations
    assert prior.log_prob(rows).abs().max() < 1e-9  # log(1 + 3 exp(-50)) is 0 in float64
    assert prior.uniform_entropy() == pytest.approx(sum(np.log(len(alpha)) for alpha in prior.alpha))


@pytest.mark.slow
def test_a_search_in_such_parts_keeps_what_each_has_learned(split_space: SearchSpace, tiny_videos: Path) -> None:
    settings = settings_for(
        split_space,
        proxy=True,
        videos=12,
        steps=2,
        samples=2,
        alpha_every=1,
        batch=4,
        crop=16,
        jitter=(16, 20),
        open_prior="quarter",
    )
    constraints = parse_constraints(split_space, {"flops": "0.0075:0.008"})
    task = supernet_search(split_space, open_videos(tiny_videos), settings, Compute("cpu", "fp32"), constraints)
    learned: dict[str, np.ndarray] = {}
    for step in range(task.settings.end(len(split_space.parts) - 1)):
        task.step(step)
        part = split_space.parts[task.number]
        current = {name: logp for name, logp in task.distribution().items() if name not in task.learned}
        assert all(is_searched_in(part, name) for name in current)
        assert all(np.array_equal(task.learned[name], learned[name]) for name in task.learned)  # copies
        learned |= current
    assert learned.keys() == {d.name for d in split_space.decisions if len(d.candidates) > 1}
    log_probs = [learned[d.name] for d in task.problem.space.decisions if d.name in learned]
    arch = task._choose(task.strategy.distribution() or log_probs)
    assert 7_500_000 <= arch.macs() <= 8_000_000
    task.step(task.settings.end(len(split_space.parts) - 1))
    assert task.settings.parts[task.number].name == "joint"
    assert task.chosen == {}
    assert task.problem.space == split_space
    for name, before in learned.items():  # one step of Adam moves an alpha by its learning rate at most
        at = task.distribution()[name]
        assert np.abs(at - before).max() <= 2.01 * task.part.arch_lr, name
        assert task.learned[name] is not at


def test_the_weights_stay_from_part_to_part(split_space: SearchSpace, tiny_videos: Path) -> None:
    settings = settings_for(split_space, proxy=True, videos=12, steps=1, samples=1, batch=4, crop=16, jitter=(16, 20))
    task = supernet_search(split_space, open_videos(tiny_videos), settings, Compute("cpu", "fp32"))
    assert task.supernet is not None
    net = task.supernet.net
    begun = {name: weight.clone() for name, weight in net.state_dict().items()}
    moved: list[set[str]] = []
    for step in range(task.steps):
        task.step(step)
        assert task.supernet.net is net
        now = net.state_dict()
        moved.append({name for name, weight in now.items() if not torch.equal(weight, begun[name])})
    assert all(one <= other for one, other in pairwise(moved))
    assert not any(name.startswith("sites.dense") for name in moved[1])  # the sparse stream's parts
    assert any(name.startswith("sites.dense") for name in moved[2])
