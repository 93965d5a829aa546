"""Filmstrip and film: that they show what they are given, where and when."""

import io
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray

from autovid.data.video import VideoFile
from autovid.errors import DataError, RunError
from autovid.report import ActivationMap, MapRow, filmstrip_png, write_film
from autovid.report.filmstrip import HEADER, TILE, overlay

GREYS = (40, 120, 200)


def row(name: str = "a", seconds: tuple[float, ...] = (0.0, 1.0, 2.0), greys: tuple[int, ...] = GREYS) -> MapRow:
    """Grey frames that are hot in the upper left quarter."""
    pixels = np.stack([np.full((8, 8, 3), grey, dtype=np.uint8) for grey in greys])
    heat = np.zeros((len(greys), 8, 8), dtype=np.float32)
    heat[:, :4, :4] = 1
    shown = ActivationMap(pixels, np.arange(len(greys), dtype=np.float64), heat, np.array([1.0], dtype=np.float32), 0)
    return MapRow(shown, np.array(seconds), name, "something 99.0 %")


def image(rows: list[MapRow]) -> NDArray[np.float64]:
    read: NDArray[np.float64] = np.asarray(matplotlib.image.imread(io.BytesIO(filmstrip_png(rows, "clip"))))
    return read


def test_heat_is_coloured_and_cold_places_are_grey_and_darker() -> None:
    heat = row().map
    mixed = overlay(heat.pixels, heat.heat).astype(int)
    # Of 255 levels, each rounded to a whole one: a colour is 50 and more apart, a grey that is tinted at most 5.
    assert np.ptp(mixed[:, 0, 0], axis=1).min() > 50
    cold = mixed[:, 7, 7]
    assert np.ptp(cold, axis=1).max() <= 5
    assert (cold.mean(1) < GREYS).all()
    assert (np.diff(cold.mean(1)) > 30).all()


def test_models_with_the_same_frames_stand_under_one_row_of_them() -> None:
    other = row("b", greys=(40, 120, 201))
    one, two, apart = image([row()]).shape[0], image([row(), row("b")]).shape[0], image([row(), other]).shape[0]
    assert two - one == pytest.approx(apart - two, abs=1)  # whole pixels: each height is rounded by half of one at most
    assert apart > two > one


def test_the_strip_shows_eight_frames_of_many_and_has_no_empty_space_for_them() -> None:
    many = row(seconds=tuple(range(30)), greys=tuple(range(30)))
    eight = row(seconds=tuple(range(8)), greys=tuple(range(8)))
    assert image([many]).shape == image([eight]).shape


def test_names_with_dollar_signs_are_no_formulas(tmp_path: Path) -> None:
    """As in `$^$`, they would be one that cannot be read, after all the work is done."""
    odd = row("run $^$")
    plain = matplotlib.image.imread(io.BytesIO(filmstrip_png([odd], "clip $^$")))
    assert plain.shape == image([row()]).shape
    write_film(tmp_path / "film.mp4", [odd], "clip $^$")


@pytest.mark.slow
def test_the_film_shows_every_frame_at_its_time_beside_its_map(tmp_path: Path) -> None:
    late = row("b", (0.5, 2.5), (10, 250))
    write_film(tmp_path / "film.mp4", [row(), late], "clip")
    with VideoFile(tmp_path / "film.mp4") as file:
        count = len(file)
        frames = file.frames(np.arange(count), lambda image: image).astype(int)
    assert frames.shape[2] == 4 * TILE
    assert count == round(25 * 4.5)  # the last frame of the second is held for as long as its first
    middle = HEADER + 3 * TILE // 4  # where it is cold
    # 8 of 255 levels: what H.264 loses depends on its encoder, but an even grey has one coefficient, which is
    # quantized by less; a wrong frame is 30 levels away and more.
    shown = frames[:, middle, [TILE // 2, 5 * TILE // 2]].mean(2)
    for second, (first, other) in {
        0.4: (40, 10),
        0.9: (40, 10),
        1.2: (120, 10),
        2.2: (200, 10),
        3.0: (200, 250),
    }.items():
        assert shown[round(25 * second)] == pytest.approx([first, other], abs=8)
    hot, cold = frames[30, HEADER + TILE // 4, TILE + TILE // 4], frames[30, middle, TILE + TILE // 4]
    assert np.ptp(hot) > 50 > np.ptp(cold)


@pytest.mark.parametrize(("last", "length"), [(0.0, 2.0), (0.2, 2.0), (600.0, 12.0)])
def test_short_clips_are_slowed_down_and_long_ones_sped_up(last: float, length: float, tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4", [row(seconds=(0.0, last / 2, last))], "clip")
    with VideoFile(tmp_path / "film.mp4") as file:
        assert len(file) == round(25 * length)


def test_a_film_that_cannot_be_written_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="cannot write"):
        write_film(tmp_path / "no" / "film.mp4", [row()], "clip")
    monkeypatch.setattr("av.codecs_available", set())
    with pytest.raises(DataError, match="cannot write H.264"):
        write_film(tmp_path / "film.mp4", [row()], "clip")
