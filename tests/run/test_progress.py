import io
import re
from typing import Any

import pytest

from autovid.run import Progress
from autovid.run.progress import duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drive(stream: Any, seconds: list[float], status: str = "sparse", loss: float = 2.5, steps: int = 600) -> None:
    """One step for each entry of `seconds`."""
    clock = Clock()
    progress = Progress("search runs/a", stream, clock)
    progress.start(steps, 0, status)
    for done, taken in enumerate(seconds, 1):
        clock.now += taken
        progress.update(done, status, {"loss": loss})
    progress.note("a line that stays")
    progress.close()


def test_lines_come_every_ten_seconds_with_first_and_last() -> None:
    out = io.StringIO()
    drive(out, [1.0] * 25)
    assert out.getvalue().splitlines() == [
        "search runs/a · step 0/600 · 0 % · sparse",
        "search runs/a · step 10/600 · 1 % · 9:50 left · sparse · loss 2.5",
        "search runs/a · step 20/600 · 3 % · 9:40 left · sparse · loss 2.5",
        "a line that stays",
        "search runs/a · step 25/600 · 4 % · 9:35 left · sparse · loss 2.5",
    ]


def test_the_time_left_counts_what_an_update_has_done() -> None:
    """Blocks are measured in groups of 48: each update is of a group."""
    out, clock = io.StringIO(), Clock()
    progress = Progress("", out, clock)
    progress.start(480, 0)
    for done in (48, 96, 144):
        clock.now += 12
        progress.update(done, "", {})
    assert progress.time_left() == pytest.approx(336 / 4)  # a few quotients of float64, of a clock that the test sets
    progress.update(144, "whole networks", {})
    assert progress.time_left() is not None
    progress.close()
    progress.start(480, 144)
    progress.update(144, "", {})
    progress.update(144, "", {})
    assert progress.time_left() is None  # nothing was done


def test_no_loss_is_not_minus_nothing() -> None:
    out = io.StringIO()
    drive(out, [0.0, 40.0], loss=-0.0)
    assert "loss 0\n" in out.getvalue()
    assert "-0" not in out.getvalue()


def test_loss_and_accuracy_are_means_of_the_same_recent_steps() -> None:
    out, clock = io.StringIO(), Clock()
    progress = Progress("train", out, clock)
    progress.start(100, 0)
    for done in range(1, 61):
        early = done <= 40
        progress.update(
            done, "", {"loss": 9.0 if early else done % 2 * 2.0, "top1": 0.0 if early else done % 2 * 100.0}
        )
    progress.close()
    assert out.getvalue().splitlines()[-1].endswith("top-1 50 % (training) · loss 1")


def test_the_last_line_is_not_repeated() -> None:
    out = io.StringIO()
    drive(out, [10.0, 10.0], steps=2)
    assert len(re.findall("step 2/2 · 100 %", out.getvalue())) == 1


def test_time_left_forgets_a_slow_first_step() -> None:
    clock = Clock()
    progress = Progress("", io.StringIO(), clock)
    progress.start(100, 50)
    clock.now += 500.0
    progress.update(51, "", {})
    assert progress.time_left() is None
    for done in range(52, 61):
        clock.now += 2.0
        progress.update(done, "", {})
    assert progress.time_left() == pytest.approx(80.0)  # seconds of a clock that the test sets


def test_a_terminal_shows_one_block_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    drive(out, [1.0] * 25, status="dense [bold]not markup[/] · 1.40 GFLOPs")
    for text in ("search runs/a", "step 25/600", "9:35 left", "dense [bold]not markup[/]", "loss 2.5", "that stays"):
        assert text in out.getvalue()
    assert "\x1b[2K" in out.getvalue()  # the block is drawn over itself


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    def colours() -> list[str]:
        out = Terminal()
        drive(out, [1.0] * 3)
        return re.findall(r"\x1b\[[1-9][0-9;]*m", out.getvalue())

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colours()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours()


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out, plain = Terminal(), io.StringIO()
    drive(out, [1.0] * 25)
    drive(plain, [1.0] * 25)
    assert out.getvalue() == plain.getvalue()


def test_a_stream_without_our_characters_gets_question_marks() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    drive(out, [1.0])
    assert b"search runs/a ? step 1/600" in raw.getvalue()


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


class BrokenTerminal(Broken):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [Broken, BrokenTerminal])
def test_a_reader_that_went_away_stops_nothing(kind: type[Broken], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    drive(kind(), [1.0] * 25)


def test_a_closed_stream_stops_nothing() -> None:
    out = io.StringIO()
    out.close()
    drive(out, [1.0] * 25)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (42.4, "0:42"), (59.7, "1:00"), (725, "12:05"), (11220, "3:07:00")]
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text
