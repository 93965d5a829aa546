"""Conformance checks that anybody can run: on a strategy, on an operation, a fusion, an attention or a block."""

import copy
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from autovid.blocks.block import Block, Choice
from autovid.blocks.site import AttentionSite, BlockSite, FusionSite, Input, Site, Size
from autovid.blocks.trace import example, trace
from autovid.errors import CostRangeError
from autovid.models.builder import inherit
from autovid.search.constraints import final_constraints
from autovid.search.part_ranges import parse_constraints
from autovid.search.problem import Choices, Problem, whole_problem
from autovid.search.strategy import Scores, Strategy
from autovid.solver import CostRange
from autovid.space import load_space

__all__ = ["check_block", "check_operation", "check_strategy", "small_problem"]

MOST = 12  # choices at each site
LABEL = 16  # characters of a part
WIDTHS = {"in": (8, 12), "out": (12, 16)}
SIZE = Size(8, 10, 10)  # a fusion leaves more than one frame of it
NAME = "checked"


def check_block(block: Block[Any], candidates: Mapping[str, Sequence[Any]]) -> None:
    """Check a block of stages, with these candidates of its choices. Raises AssertionError that says what is wrong."""
    assert set(block.choices) == set(candidates), f"choices are {list(block.choices)}; give candidates for each"
    own = {name: tuple(values) for name, values in candidates.items()}
    keys: dict[str, Any] = {}
    for stride, squeeze, width_in in ((2, 16, "in"), (1, 0, "out"), (1, 16, "in")):
        site = BlockSite(
            **_common("block", width_in, SIZE.strided(stride)),
            variables=(("width_in", width_in), ("width", "out"), *((name, name) for name in own)),
            stage=1,
            stride=stride,
            squeeze=squeeze,
        )
        _check(block, site, {**WIDTHS, **own}, site.inputs, True, keys)


def check_operation(operation: Block[Any], kind: Literal["fusion", "attention"]) -> None:
    """Check a fusion or an attention operation. Raises AssertionError that says what is wrong."""
    keys: dict[str, Any] = {}
    values = {**WIDTHS, NAME: (NAME,)}
    if kind == "attention":
        variables = (("width_in", "out"), ("width", "out"), ("operation", NAME))
        for most in (4, 16):
            attention = AttentionSite(**_common(kind, "out", SIZE), variables=variables, keys=most)
            _check(operation, attention, values, attention.inputs, True, keys)
        return
    variables = (("width_in", "in"), ("width", "out"), ("operation", NAME))
    for ratio in (2, 4):
        size = SIZE._replace(frames=SIZE.frames // ratio)
        fusion = FusionSite(**_common(kind, "in", size), variables=variables, ratio=ratio, kernel=3)
        _check(operation, fusion, values, fusion.inputs, False, keys)


def _common(kind: str, width_in: str, size: Size) -> dict[str, Any]:
    inputs = (Input("main", width_in, SIZE),)
    return {"name": NAME, "kind": kind, "place": "stage1", "stream": "main", "inputs": inputs, "size": size}


def _check(
    block: Block[Any],
    site: Site,
    candidates: Mapping[str, tuple[Any, ...]],
    inputs: Sequence[Input],
    keeps_result: bool,
    keys: dict[str, Any],
) -> None:
    """Check one choice. `keeps_result`: what comes out is kept by whatever follows, and counts here."""
    torch.manual_seed(0)
    supernet = _randomised(block.build(site, site.candidates(candidates)))
    for choice in _some(site, candidates):
        where = f"{type(block).__name__} with {dict(choice)}"
        frozen = block.build(site, {name: (value,) for name, value in choice.items()})
        frozen = frozen.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        inherit(frozen, supernet)
        maps = [example(one, site, choice) for one in inputs]
        _check_equal(supernet, frozen, maps, choice, where)
        stated = _stated(block, site, choice)
        traced = trace(block, site, choice, inputs)
        assert traced.shape == (1, choice["width"], *site.size), f"{where} gives {traced.shape}, not {site.size}"
        assert stated["macs"] == traced.macs, f"{where}: macs() says {stated['macs']:,}, a trace {traced.macs:,}"
        assert stated["params"] == traced.params, f"{where}: params() says {stated['params']:,}, not {traced.params:,}"
        kept = kept_bytes(frozen.train(), maps, choice, keeps_result)
        said = stated["activation_bytes"]
        assert said == kept, f"{where}: activation_bytes() says {said:,}, and backward keeps {kept:,}"
        key, shapes = block.key(site, choice), [tuple(p.shape) for p in frozen.parameters()]
        assert key, f"{where}: its key is empty, which stands for no module"
        work = (site.stride, site.size, traced, shapes, kept)
        assert keys.setdefault(key, work) == work, f"{where}: {key!r} is also the key of other work"
        label = block.label(site, choice)
        short = isinstance(label, tuple) and 0 < len(label) <= 3 and all(0 < len(part) <= LABEL for part in label)
        assert short, f"{where}: label() gives {label!r}; give up to three texts of at most {LABEL} characters"


def _check_equal(supernet: nn.Module, frozen: nn.Module, maps: list[Tensor], choice: Choice, where: str) -> None:
    """Equal to the bit, in evaluation and in training; and nothing of the frozen module is left unused."""
    for training in (False, True):
        with torch.no_grad():
            shared, alone = (net.train(training)(*maps, choice=choice) for net in (supernet, frozen))
        when = "training" if training else "evaluation"
        assert torch.equal(shared, alone), f"{where}: the supernet's result in {when} is not the frozen module's"
    frozen(*maps, choice=choice).sum().backward()
    unused = [name for name, parameter in frozen.named_parameters() if parameter.grad is None]
    assert not unused, f"{where}: {', '.join(unused)} take no part; build what a choice needs and no more"
    frozen.zero_grad()


def _stated(block: Block[Any], site: Site, choice: Choice) -> dict[str, int]:
    costs = ("macs", "params", "activation_bytes")
    stated = {name: getattr(block, name)(site, choice) for name in costs}
    odd = [name for name, value in stated.items() if type(value) is not int or value < 0]
    assert not odd, f"{type(block).__name__}.{odd[0]}() gives {stated[odd[0]]!r}; give a whole number"
    return stated


def kept_bytes(module: nn.Module, maps: Sequence[Tensor], choice: Choice, keeps_result: bool) -> int:
    """Bytes behind the tensors that autograd saves: each memory once, none of inputs, parameters and statistics."""
    maps = [one.clone().requires_grad_() for one in maps]
    own = {t.untyped_storage().data_ptr() for t in [*maps, *module.parameters(), *module.buffers()]}
    kept: dict[int, Tensor] = {}

    def record(tensor: Tensor) -> Tensor:
        if tensor.dim() and tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no memory is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        out = module(*maps, choice=choice)
    if keeps_result:
        record(out)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _some(site: Site, candidates: Mapping[str, tuple[Any, ...]]) -> Iterator[Choice]:
    """All choices at a site, or MOST of them, the first and the last among these."""
    rows = itertools.product(*(candidates[name] for name in site.scope))
    choices = [dict(zip(site.scope, row)) for row in rows]
    step = max(1, (len(choices) - 1) / (MOST - 1))
    for place in sorted({round(step * number) for number in range(min(MOST, len(choices)))}):
        yield site.choice(choices[place])


def _randomised(module: nn.Module) -> nn.Module:
    """Parameters and statistics at random: no module is the identity, as one whose last norm starts at zero is."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand_like(tensor) if "norm" in name or tensor.dim() == 1 else tensor)
    return module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


STEPS, WARMUP, ROUNDS = 6, 2, 2


def check_strategy(make: Callable[[Problem], Strategy], problem: Problem) -> None:
    """Check that a strategy keeps the rules of `Strategy`. Raises AssertionError that says which it breaks.

    `make` makes a new strategy for a problem; it is called several times. `problem` is made by `small_problem`, or is
    one of your own with a few thousand architectures or more.
    """
    strategy = make(problem)
    assert strategy.weighting in ("equal", "likelihood"), f"weighting is {strategy.weighting!r}"
    score = getattr(strategy, "score", "supernet")
    assert score in ("supernet", "training"), f"score is {score!r}: the strategy's own way is supernet or training"
    has_rounds = strategy.interleaved or hasattr(strategy.Settings, "rounds")
    assert has_rounds, "Settings has no `rounds`: a strategy that is not interleaved would never be asked"
    first = _history(strategy, problem)
    second = _history(make(problem), problem)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)), "equal seeds give other architectures"
    _check_resumed(make, problem)
    _check_candidates(strategy, problem)
    _check_distribution(strategy, problem)
    _check_out_of_reach(strategy, problem)


def _generator(step: int) -> np.random.Generator:
    return np.random.default_rng((7, step))


def _score(choices: Choices, problem: Problem) -> Scores:
    """Planted scores: the larger the candidate numbers, the better; some noise that depends on them alone."""
    quality = choices.sum(axis=1) / sum(problem.space.sizes)
    noise = np.sin(choices @ np.arange(1, choices.shape[1] + 1)) / 100
    k = len(choices)
    return Scores(quality + noise - 2.0, np.full(k, 0.01), np.full(k, 5, np.int64), 64, 2.5)


def _one_step(strategy: Strategy, problem: Problem, step: int) -> list[Choices]:
    drawn = strategy.draw(step, None, _generator(step))
    _check_choices(drawn, problem, "draw")
    assert len(drawn) >= 1, "draw gives no architecture"
    assert len(strategy.draw(step, 3, _generator(step))) == 3, "draw(step, 3, rng) does not give 3 architectures"
    return [drawn, *(_one_round(strategy, problem, step) if strategy.interleaved else [])]


def _one_round(strategy: Strategy, problem: Problem, step: int) -> list[Choices]:
    asked = strategy.ask(step, _generator(step))
    _check_choices(asked, problem, "ask")
    if strategy.interleaved and step < problem.warmup:
        assert not len(asked), "ask gives architectures during the warm-up"
    if not len(asked):
        return []
    kept, scores = asked.copy(), _score(asked, problem)
    metrics = strategy.tell(asked, scores)
    assert np.array_equal(kept, asked), "tell changes the choices"
    assert all(np.isfinite(value) for value in metrics.values()), f"tell gives figures that are not finite: {metrics}"
    return [kept]


def _history(strategy: Strategy, problem: Problem, first: int = 0, last: int = STEPS) -> list[Choices]:
    history = [rows for step in range(first, last) for rows in _one_step(strategy, problem, step)]
    if not strategy.interleaved:
        history += [rows for step in range(last, last + ROUNDS) for rows in _one_round(strategy, problem, step)]
    return history


def _check_choices(choices: Choices, problem: Problem, where: str) -> None:
    sizes = np.array(problem.space.sizes)
    assert choices.dtype == np.int64, f"{where} gives {choices.dtype}, not int64"
    assert choices.shape == (len(choices), len(sizes)), f"{where} gives shape {choices.shape}"
    assert ((choices >= 0) & (choices < sizes)).all(), f"{where} gives a candidate that a decision does not have"


def _check_resumed(make: Callable[[Problem], Strategy], problem: Problem) -> None:
    """Check that a strategy that was saved and loaded in the middle goes on as one that was not."""
    whole, begun = make(problem), make(problem)
    for strategy in (whole, begun):
        _history(strategy, problem, 0, STEPS // 2)
    file = io.BytesIO()
    torch.save(copy.deepcopy(begun.state()), file)
    file.seek(0)
    resumed = make(problem)
    resumed.load(torch.load(file, weights_only=True))
    a, b = (_history(strategy, problem, STEPS // 2) for strategy in (whole, resumed))
    same = len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b))
    assert same, "a strategy that was saved and loaded goes on otherwise"


def _check_candidates(strategy: Strategy, problem: Problem) -> None:
    rows = strategy.candidates(4, problem.constraints, _generator(0))
    _check_choices(rows, problem, "candidates")
    assert 1 <= len(rows) <= 4, f"candidates(4, …) gives {len(rows)} architectures"
    assert len(np.unique(rows, axis=0)) == len(rows), "candidates gives an architecture twice"
    assert problem.inside(rows).all(), "candidates gives an architecture outside the constraints, or not feasible"
    again = strategy.candidates(1, problem.constraints, _generator(0))
    assert np.array_equal(again, rows[:1]), "the best of one candidate is not the best of four"


def _check_distribution(strategy: Strategy, problem: Problem) -> None:
    log_probs: Any = strategy.distribution()
    if log_probs is None:
        return
    assert [len(logp) for logp in log_probs] == list(problem.space.sizes), "distribution has other sizes than the space"
    assert all(abs(np.exp(logp).sum() - 1) < 1e-9 for logp in log_probs), "a distribution does not sum to 1"


def _check_out_of_reach(strategy: Strategy, problem: Problem) -> None:
    """Check that constraints that nothing meets cost one clear error."""
    if not problem.constraints:
        return
    nothing = [replace(limit, range=CostRange(1, 1)) for limit in problem.constraints]
    try:
        strategy.candidates(1, nothing, _generator(0))
    except CostRangeError:
        return
    raise AssertionError("candidates gives architectures where the constraints hold none")


def small_problem() -> Problem:
    """Make a problem to try a strategy on: the whole space `tiny`, 7.1 to 7.9 MMACs."""
    space = load_space("tiny")
    constraints = final_constraints(parse_constraints(space, {"flops": "0.0071:0.0079"}), space)
    return replace(whole_problem(space, constraints, steps=STEPS), warmup=WARMUP)
