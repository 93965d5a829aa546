"""The report's cards of decisions follow the sites where the decisions are made, whatever these are called."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autovid.blocks.site import AttentionSite
from autovid.report.search import Verdict, _groups
from autovid.space import SearchSpace, load_space

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def cards(space: SearchSpace) -> dict[str, set[str]]:
    """The blocks of each card."""
    run: Any = SimpleNamespace(searched=SimpleNamespace(space=space), history=())
    sizes = [(one, len(one.candidates)) for one in space.decisions]
    verdicts = [Verdict(one.name, one.candidates, np.full(size, 1 / size), 0) for one, size in sizes if size > 1]
    return {card: set(blocks) for card, blocks in _groups(run, verdicts).items()}


@pytest.mark.usefixtures("without_plugins")
def test_a_stage_has_a_card_and_each_kind_of_site_between_stages_too() -> None:
    plugins = [EXAMPLES / "my_attention.py", EXAMPLES / "my_conv2plus1d.py"]
    shown = cards(load_space(EXAMPLES / "my_space.yaml", plugins=plugins))
    assert set(shown) == {"main stage1", "main stage2", "attention"}
    assert shown["main stage1"] >= {"", "block1"}  # the stage's width, and its first block
    assert "fusion" in cards(load_space("tiny"))


def test_what_is_drawn_as_a_box_of_its_stream_is_in_the_card_of_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AttentionSite, "shape", "box")
    assert "attention" not in cards(load_space("tiny"))
