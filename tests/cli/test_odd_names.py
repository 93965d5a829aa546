"""Names that people give, and that libraries take for markup."""

from pathlib import Path

import pytest

from autovid.cli.screens import announce_search, copyable
from autovid.data import Video, VideoSet
from autovid.search import settings_for
from autovid.space import load_space


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    space = load_space("tiny")
    videos = VideoSet("[/data]", Path("."), ("a",), (Video("x.mp4", 0),), ())
    announce_search(space, videos, settings_for(space, proxy=True, videos=1), "runs/[/b]")
    copyable(["where  runs/[/b]"])
    said = capsys.readouterr().out
    assert "data [/data] (1 classes" in " ".join(said.split())
    assert said.count("runs/[/b]") == 2
