"""The picture that a search leaves in its directory."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from autovid.search import read_search
from autovid.search.monitor import search_curve
from autovid.space import load_architecture


def test_parts_are_named_above_the_curves_and_steps_are_whole(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    run = runs["search"]
    searched = read_search(run)
    search_curve(run / "metrics.jsonl", searched, load_architecture(run / "architecture.yaml"))
    assert len(drawn[0].axes) == 4
    for axes in drawn[0].axes:
        parts = [text for text in axes.texts if text.get_text() != "found"]
        assert [text.get_text() for text in parts] == [part.name for part in searched.settings.parts]
        assert all(text.get_position()[1] > 1 and text.get_verticalalignment() == "bottom" for text in parts)
        assert all(tick == round(tick) for tick in axes.get_xticks())
