"""The space of the tabular benchmark: small enough to train all of it, with enough of it at one cost."""

import numpy as np

from autovid.search.part_ranges import parse_constraints
from autovid.space import SearchSpace, load_space

CENTRE = 2_560_000  # MACs of one clip: the cost at which the benchmark's requirement is checked


def all_macs(space: SearchSpace) -> np.ndarray:
    rows = np.stack(np.unravel_index(np.arange(space.size), space.sizes), axis=1)
    return space.cost_table().macs(rows)


def test_all_of_it_can_be_trained() -> None:
    assert 256 <= load_space("bench").size <= 512


def test_at_one_cost_there_are_enough_to_compare() -> None:
    macs = all_macs(load_space("bench"))
    assert (abs(macs - CENTRE) <= 0.03 * CENTRE).sum() == 52


def test_at_one_cost_no_decision_is_settled() -> None:
    space = load_space("bench")
    rows = np.stack(np.unravel_index(np.arange(space.size), space.sizes), axis=1)
    inside = rows[abs(all_macs(space) - CENTRE) <= 0.03 * CENTRE]
    for decision, column in zip(space.decisions, inside.T):
        shares = np.bincount(column, minlength=len(decision.candidates)) / len(inside)
        assert shares.min() > 0.1, decision.name


def test_nothing_mixes_frames_unless_it_is_chosen() -> None:
    network = load_space("bench").network
    assert {stream.stem.temporal_kernel for stream in network.streams.values()} == {1}
    assert network.fusion is not None
    assert network.fusion.kernel == 1


def test_each_part_has_something_to_choose_and_a_range_of_its_own() -> None:
    space = load_space("bench")
    flops = parse_constraints(space, {"flops": f"{0.97 * CENTRE / 1e9}:{1.03 * CENTRE / 1e9}"})[0]
    assert set(flops.parts) == {"sparse", "dense", "attention"}
    assert not flops.settled  # the fractions of the file can be met
    sizes = [space.part_space(number, {}).size for number in range(3)]
    assert sizes == [8, 128, 256]
