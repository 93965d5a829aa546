"""Whether a part leaves room is answered from a few tables, as it would be from a table for each architecture."""

import numpy as np
import pytest

from autovid.costs import Macs
from autovid.errors import CostRangeError
from autovid.search import Constraint, parse_constraints, read_constraints, resolve_part_ranges
from autovid.search.constraints import part_ranges_note, uniform
from autovid.search.feasibility import Feasibility, choose, decided, fixed_cost
from autovid.search.part_ranges import check
from autovid.solver import CostRange
from autovid.space import SearchSpace, load_space
from autovid.space.layout import is_searched_in


@pytest.fixture(params=["tiny", "split"])
def space(request: pytest.FixtureRequest, split_space: SearchSpace) -> SearchSpace:
    """One whose parts decide whole streams, one with a part for the widths of a stream and one for the rest."""
    return load_space("tiny") if request.param == "tiny" else split_space


def shares(space: SearchSpace, *texts: str) -> tuple[Constraint, ...]:
    """Ranges of FLOPs with the parts' shares as the space has them, whether these can be met or not."""
    (asked,) = read_constraints(space, {"flops": texts})
    parts = {p.name: asked.whole.scaled(p.cost_fraction) for p in space.parts} if asked.whole else {}
    return (Constraint(asked.cost, asked.whole, {**parts, **asked.parts}, asked.own),)


@pytest.mark.slow
def test_shared_tables_answer_as_tables_of_ones_own(space: SearchSpace) -> None:
    answers = []
    for whole in ("0.0075:0.0076", "0.0110:0.0111"):
        constraints = shares(space, whole)
        shared = Feasibility(space, constraints)
        for number in (0, 1):
            part_space = space.part_space(number, {})
            archs = part_space.sample(20, seed=number)
            costs = fixed_cost(space, number, part_space, part_space.cost_table(), part_space.index(archs)).tolist()
            for arch, cost in zip(archs, costs):
                chosen = decided(space, number, arch)
                answers.append(shared.is_feasible(number, chosen, [cost]))
                assert answers[-1] == Feasibility(space, constraints).is_feasible(number, chosen, [cost])
    assert True in answers
    assert False in answers


def test_room_is_there_where_an_architecture_proves_it() -> None:
    """What any architecture of the range has chosen leaves room: that architecture itself is the way."""
    space = load_space("tiny")
    feasibility = Feasibility(space, shares(space, "0.0075:0.0080"))
    for arch in space.sample(20, seed=0, macs=(7_500_000, 8_000_000)):
        chosen = decided(space, 1, arch)
        part_space = space.part_space(1, chosen)
        assert feasibility.is_feasible(1, chosen, [part_space.cost_table().smallest()[0]])


def test_a_part_chooses_the_most_probable_that_leaves_room() -> None:
    space = load_space("tiny")
    feasibility = Feasibility(space, shares(space, "sparse=0.0028:0.0030", "0.0075:0.0080"))
    part_space = space.part_space(0, {})
    rng = np.random.default_rng(0)
    log_probs = [np.log(rng.dirichlet(np.ones(size))) for size in part_space.sizes]
    arch = choose(feasibility, 0, part_space, log_probs)
    assert 2_800_000 <= part_space.cost_table().macs([arch])[0] <= 3_000_000
    logprob = sum(float(logp[i]) for logp, i in zip(log_probs, part_space.index([arch])[0]))
    rivals = part_space.sample(200, seed=1, macs=(2_800_000, 3_000_000))
    for rival, row in zip(rivals, part_space.index(rivals)):
        if feasibility.leaves_way(0, part_space, rival):
            assert sum(float(logp[i]) for logp, i in zip(log_probs, row)) <= logprob + 1e-9


def test_ranges_that_cannot_follow_each_other_are_refused() -> None:
    space = load_space("tiny")
    with pytest.raises(CostRangeError, match="one after the other"):
        check(space, shares(space, "dense=0.0100:0.0101", "0.0060:0.0061"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "whole",
    [
        "0.76:0.77",
        "2.4:2.5",
        "8.5:8.6",
        *(pytest.param(w, marks=pytest.mark.thorough) for w in ("1:1.05", "3:3.05", "5:5.1")),
    ],
)
def test_any_range_that_the_space_reaches_can_be_searched(whole: str) -> None:
    space = load_space("two_stream")
    resolved = parse_constraints(space, {"flops": whole})
    check(space, resolved)
    assert resolved[0].texts() == [whole]
    assert resolved == parse_constraints(space, {"flops": [whole]})


@pytest.mark.parametrize("whole", ["0.0107827:0.0107936", "0.020912:0.020933", "0.0243:0.0244"])
def test_narrow_ranges_and_those_at_the_ends_can_be_searched(whole: str) -> None:
    """Shares of a narrow range may not follow one another; those of the dearest range may be out of a part's reach."""
    space = load_space("tiny")
    (constraint,) = parse_constraints(space, {"flops": whole})
    assert Constraint.from_record(Macs(), constraint.record()) == constraint
    feasibility = Feasibility(space, [constraint])
    chosen, rng = {}, np.random.default_rng(1)
    for number in range(len(space.parts)):
        part_space = space.part_space(number, chosen)
        log_probs = [np.log(rng.dirichlet(np.full(size, 0.3)) + 1e-12) for size in part_space.sizes]
        arch = choose(feasibility, number, part_space, log_probs)
        chosen = decided(space, number, arch)
    assert constraint.whole is not None
    low, high = constraint.whole
    assert low <= space.fix(chosen).cost_table().smallest()[0] <= high


def test_a_range_too_narrow_for_parts_is_said_to_be_that() -> None:
    space = load_space("tiny")
    macs = space.sample(1, seed=3)[0].macs()
    with pytest.raises(CostRangeError, match="there are architectures with .* too narrow to be reached part by part"):
        resolve_part_ranges(space, [Constraint(Macs(), CostRange(macs, macs))])


def test_shares_that_can_be_met_stay() -> None:
    space = load_space("two_stream")
    for texts in (["1.37:1.43"], ["sparse=1.37:1.43"], []):
        assert parse_constraints(space, {"flops": texts}) == (shares(space, *texts) if texts else ())


@pytest.mark.slow
def test_settling_keeps_a_range_that_a_part_was_given_and_says_what_it_sets() -> None:
    (constraint,) = parse_constraints(load_space("two_stream"), {"flops": ["sparse=1.37:1.43", "2.4:2.5"]})
    assert constraint.texts() == ["2.4:2.5", "sparse=1.37:1.43"]
    assert constraint.settled == {"dense"}
    dense = constraint.cost.quantity.write(constraint.parts["dense"])
    assert f"ours instead: dense={dense} GFLOPs" in part_ranges_note([constraint])
    assert part_ranges_note(parse_constraints(load_space("two_stream"), {"flops": "1.37:1.43"})) == ""


def test_the_uniform_prior_is_one() -> None:
    table = load_space("tiny").cost_table()
    assert all(np.exp(logp).sum() == pytest.approx(1) for logp in uniform(table))  # float64, a few roundings


def test_parts_that_share_a_stream_choose_one_after_the_other_into_the_range(space: SearchSpace) -> None:
    constraints = shares(space, "0.0075:0.0080")
    check(space, constraints)
    feasibility = Feasibility(space, constraints)
    chosen, rng = {}, np.random.default_rng(1)
    for number, part in enumerate(space.parts):
        part_space = space.part_space(number, chosen)
        log_probs = [np.log(rng.dirichlet(np.ones(size))) for size in part_space.sizes]
        arch = choose(feasibility, number, part_space, log_probs)
        chosen = decided(space, number, arch)
        open_now = {name for name in chosen if name in part_space.candidates and len(part_space.candidates[name]) > 1}
        assert all(is_searched_in(part, name) for name in open_now)
    assert 7_500_000 <= space.fix(chosen).cost_table().smallest()[0] <= 8_000_000
    assert chosen.keys() == space.candidates.keys()
