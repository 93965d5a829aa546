"""The timeline of a video: neighbours smooth each other, equal ones are joined, and the files say the same."""

import csv
import dataclasses
import io
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from autovid.errors import ConfigError
from autovid.export import timeline_plot
from autovid.export.prediction import ScoredWindow
from autovid.export.timeline import Timeline, check_names, write_timeline

SURE = {"a": (0.9, 0.1, 0.0), "b": (0.1, 0.9, 0.0), "c": (0.0, 0.3, 0.7)}


def timeline(text: str, names: tuple[str, ...] = ("run", "jump\n-->", "$x")) -> Timeline:
    """Windows of 2 s, a letter each; a space is a hole."""
    windows = [
        ScoredWindow(2.0 * number, 2.0 * number + 2, 1, np.array(SURE[letter], dtype=np.float32))
        for number, letter in enumerate(text)
        if letter != " "
    ]
    return Timeline("films/long one.mp4", windows, names)


def test_neighbours_count_half() -> None:
    smoothed = timeline("aab").smoothed
    expected = [[2 * 0.9 + 0.9, 2 * 0.1 + 0.1], [0.9 + 2 * 0.9 + 0.1, 0.1 + 2 * 0.1 + 0.9], [0.9 + 0.2, 0.1 + 1.8]]
    # Inputs are fp32 (2^-24), and a few sums in fp64.
    assert np.allclose(smoothed[:, :2], np.array(expected) / [[3], [4], [3]], atol=1e-6)
    assert np.allclose(smoothed.sum(1), 1, atol=1e-6)


def test_what_lies_beyond_a_hole_is_no_neighbour() -> None:
    with_hole = timeline("a b")
    assert np.allclose(with_hole.smoothed[:, 0], [0.9, 0.1], atol=1e-6)  # fp32 inputs
    assert [(one.start, one.end) for one in timeline("aa aa").segments()] == [(0, 4), (6, 10)]


def test_a_single_odd_window_makes_no_segment_and_two_do() -> None:
    assert [one.number for one in timeline("aaabaaa").segments()] == [0]
    spans = [(one.start, one.end, one.number) for one in timeline("aaabbbb").segments()]
    assert spans == [(0, 6, 0), (6, 14, 1)]
    (one,) = timeline("a").segments()
    assert (one.start, one.end) == (0, 2)
    assert one.probability == pytest.approx(0.9, abs=1e-6)  # fp32 input


def test_the_files_say_the_same(tmp_path: Path) -> None:
    places = write_timeline(tmp_path / "out", timeline("aaabbbb"), "net $a, windows of 2 s")
    assert [place.name for place in places] == [f"long one.timeline.{kind}" for kind in ("png", "csv", "srt")]
    rows = list(csv.DictReader(io.StringIO(places[1].read_text())))
    assert [row["class"] for row in rows] == ["run"] * 3 + ["jump\n-->"] * 4
    assert (rows[2]["start"], rows[2]["end"], rows[2]["probability"], rows[2]["run"]) == (
        "4.0",
        "6.0",
        "0.7000",
        "0.7000",
    )
    assert places[2].read_text().split("\n\n")[1].splitlines() == [
        "2",
        "00:00:06,000 --> 00:00:14,000",
        r"jump\n--> (85 %)",  # a name cannot begin another subtitle
    ]
    assert matplotlib.image.imread(places[0]).shape[:2] == (640, 1600)


def test_the_longest_name_of_a_video_is_cut(tmp_path: Path) -> None:
    long = dataclasses.replace(timeline("ab"), video="ü" * 125 + ".mp4")  # 254 bytes
    assert [place.name for place in write_timeline(tmp_path, long, "")][1] == "ü" * 100 + ".timeline.csv"
    with pytest.raises(ConfigError, match="several videos are called ü{100};"):
        check_names([Path("ü" * 110), Path("ü" * 120)])


def test_long_timelines_of_many_classes_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    windows = [ScoredWindow(n, n + 1, 1, rng.dirichlet(np.full(30, 0.1)).astype(np.float32)) for n in range(600)]
    many = Timeline("v.mp4", windows, [f"class {number} with a very long name indeed $" for number in range(30)])
    assert write_timeline(tmp_path, many, "")[0].stat().st_size > 10_000


def test_a_line_has_a_few_hundred_points_each_the_mean_of_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(timeline_plot, "png_bytes", lambda figure: figures.append(figure) or b"")
    timeline_plot.timeline_png(timeline("aaabbb" * 400), "net")
    lines = [line for line in figures[0].axes[0].lines if line.get_linestyle() == "-"]
    assert [len(line.get_xdata()) for line in lines] == [400, 400]
    # Six windows a point, three of either class: their mean, but for the ends. Inputs are fp32.
    assert np.allclose(lines[0].get_ydata()[1:-1], 50, atol=1e-4)
    assert np.allclose(lines[0].get_xdata()[:2], [6, 18])
    assert figures[0].axes[0].get_title(loc="right") == "net; drawn as means of 6 windows"


def test_no_line_is_drawn_across_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(timeline_plot, "png_bytes", lambda figure: figures.append(figure) or b"")
    timeline_plot.timeline_png(timeline("aa  ab"), "net")
    line = next(line for line in figures[0].axes[0].lines if line.get_linestyle() == "-")
    assert np.isnan(line.get_ydata()).tolist() == [False, False, True, False, False]
    assert np.allclose(line.get_xdata(), [1, 3, np.nan, 9, 11], equal_nan=True)


@pytest.mark.parametrize(
    ("span", "step"), [(4, 0.5), (20, 2), (90, 10), (240, 30), (3600, 600), (7200, 900), (86400, 14400), (1e6, 1e5)]
)
def test_ticks_are_round_on_a_clock(span: float, step: float) -> None:
    assert timeline_plot.tick_step(span) == step


def test_two_videos_of_one_name_are_refused() -> None:
    check_names([Path("a/x.mp4"), Path("a/y.mp4")])
    with pytest.raises(ConfigError, match="several videos are called x"):
        check_names([Path("a/x.mp4"), Path("b/X.avi")])
