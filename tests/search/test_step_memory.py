"""The memory that a step of a search takes does not grow with K: one architecture's graph at a time."""

import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autovid.data import open_videos
from autovid.kernels.compute import Compute
from autovid.search import settings_for
from autovid.search.plan import step_memory
from autovid.search.run import supernet_search
from autovid.space import load_space


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that are alive, and the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        self._take(leaf for leaf in tree_leaves(results) if isinstance(leaf, torch.Tensor))
        return results

    def _take(self, tensors: Iterable[torch.Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self.seen:
                self.seen[key] = weakref.ref(storage, lambda _, key=key, size=size: self._drop(key, size))
                self.now += size
                self.most = max(self.most, self.now)

    def _drop(self, key: int, size: int) -> None:
        del self.seen[key]
        self.now -= size


def step_bytes(videos: Path, samples: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """The most bytes that the second step of a search over K samples has alive, and those of one graph in it. All K
    are the largest architecture, so that K alone differs."""
    settings = settings_for(
        load_space("tiny"),
        proxy=True,
        videos=12,
        steps=4,
        samples=samples,
        archs_per_update=samples,
        alpha_every=1,
        batch=4,
        crop=16,
        jitter=(16, 20),
    )
    task = supernet_search(load_space("tiny"), open_videos(videos), settings, Compute("cpu", "fp32"))
    largest = task.problem.space.cost_table().largest()[1][None].repeat(samples, axis=0)
    monkeypatch.setattr(task.strategy, "draw", lambda *arguments: largest)
    monkeypatch.setattr(task.strategy, "ask", lambda *arguments: largest)
    supernet = task.supernet
    assert supernet is not None
    task.step(0)  # momentum is there from now on
    graphs: list[int] = []
    logits = supernet.logits

    def measured(x: Any, choices: Any, kind: str) -> torch.Tensor:
        before = live.now
        result = logits(x, choices, kind)
        graphs.append(live.now - before)
        return result

    monkeypatch.setattr(supernet, "logits", measured)
    with LiveBytes() as live:
        metrics = task.step(1)
    assert "held_out_loss" in metrics  # it has moved the prior as well
    assert len(graphs) == 2 * samples
    return live.most, graphs[0]


def test_the_memory_of_a_step_does_not_grow_with_k(tiny_videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (two, graph), (eight, _) = (step_bytes(tiny_videos, samples, monkeypatch) for samples in (2, 8))
    assert graph > 1_000_000  # else nothing would be seen of six more of them
    assert eight - two < graph / 20, (two, eight, graph)


def test_adamw_keeps_a_number_more_of_each_weight() -> None:
    space = load_space("tiny")
    sgd, adamw = (
        step_memory(space, settings_for(space, proxy=True, videos=400, constrained=False, optimizer=name), 12, 1, False)
        for name in ("sgd", "adamw")
    )
    assert 3 * adamw.fixed == 4 * sgd.fixed


def test_workers_side_by_side_keep_the_whole_batch_each() -> None:
    space = load_space("tiny")

    def clips(workers: int, **changes: Any) -> int:
        settings = settings_for(space, proxy=True, videos=400, constrained=False, batch=8, **changes)
        return step_memory(space, settings, 12, workers, False).clips

    assert clips(1, archs_per_update=1) == 8
    assert clips(2, archs_per_update=2) == 8
    assert clips(2, archs_per_update=2, split="batch") == 4
    assert clips(2, archs_per_update=1) == 4  # too few to deal: each batch is shared
