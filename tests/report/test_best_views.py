"""Which evaluation of a training the report names."""

from pathlib import Path
from typing import Any

import pytest

from autovid.report.runs import Run
from autovid.report.summary import views_label
from autovid.train import Evaluation


def evaluation(views: str, number: int) -> Evaluation:
    texts: dict[str, Any] = dict.fromkeys(("architecture", "data", "fingerprint", "convention"), "")
    numbers = dict.fromkeys(
        ("step", "steps", "videos", "decoded", "frames", "stride", "crop", "params", "macs_per_view"), 1
    )
    figures = dict.fromkeys(("top1", "top5", "gflops_per_view", "gflops_per_video"), 1.0)
    return Evaluation(split="val", views=views, views_per_video=number, **texts, **numbers, **figures)


@pytest.mark.parametrize(
    ("found", "best", "said"),
    [
        ({"center": 1}, "center", "centre view"),
        ({"center": 1, "center@256": 1}, "center@256", "centre view, center@256"),
        ({"center": 1, "center@256": 1, "10-lcr": 30}, "10-lcr", "10-lcr, 30 views each"),
    ],
)
def test_the_most_views_count_and_of_equals_the_short_side_that_was_asked_for(
    found: dict[str, int], best: str, said: str
) -> None:
    files = tuple((Path(f"evaluation-{views}.json"), evaluation(views, number)) for views, number in found.items())
    run = Run(Path("run"), "run", None, (), (), (), evaluations=files)  # type: ignore[arg-type]
    assert run.best is not None
    assert run.best[1].views == best
    assert views_label(run.best[1]) == said
