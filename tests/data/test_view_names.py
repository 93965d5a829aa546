import pytest

from autovid.data.views import Views, views_name, views_of
from autovid.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "name", "clips", "crops", "total"),
    [
        ("center", "center", 1, 1, 1),
        ("1", "center", 1, 1, 1),
        ("1-center", "center", 1, 1, 1),
        ("3", "lcr", 1, 3, 3),
        ("10", "10-center", 10, 1, 10),
        ("30", "10-lcr", 10, 3, 30),
        ("2-lcr", "2-lcr", 2, 3, 6),
        ("2-center", "2-center", 2, 1, 2),
    ],
)
def test_views_have_one_name_and_are_counted(given: str, name: str, clips: int, crops: int, total: int) -> None:
    found = views_of(given)
    assert (views_name(given), found.clips, len(found.places), found.total) == (name, clips, crops, total)


def test_three_crops_lie_left_in_the_middle_and_right() -> None:
    assert views_of("lcr") == Views(1, (0.0, 0.5, 1.0))


@pytest.mark.parametrize("wrong", ["", "5", "0-center", "101-center", "10-left", "lcr-10", "x-lcr", "10-center "])
def test_others_are_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="10-lcr"):
        views_of(wrong)
