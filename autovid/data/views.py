"""In which views a video is tested: how many clips along time, and which crops of each.

"center" is one clip and its centre crop, "lcr" one clip with a left, a centre and a right crop (the top, the middle and
the bottom one of a video that is higher than wide); "10-center" and "10-lcr" are ten clips of these. Clips are placed
by `sampling.test_indices`: uniform ones at the segments' middles and frames beside them, dense ones evenly from the
first frame to the last start that fits, or the first one alone.

In the seeds' words: 1, 3, 10 and 30 views are center, lcr, 10-center and 10-lcr; the clip level of "Deep Analysis" is
center, its video level 10-center, and 2-lcr its two clips for Something-Something.
"""

import re
from typing import NamedTuple

from autovid.errors import ConfigError

PLACES = {"center": (0.5,), "lcr": (0.0, 0.5, 1.0)}
BY_NUMBER = {"1": "center", "3": "lcr", "10": "10-center", "30": "10-lcr"}
MOST = 100  # clips of a video


class Views(NamedTuple):
    """Clips in time, and the places of the crops along the longer side."""

    clips: int
    places: tuple[float, ...]

    @property
    def total(self) -> int:
        """Views of a video."""
        return self.clips * len(self.places)


def views_name(views: str) -> str:
    """The one name of these views: "10-lcr" of "30". Raises ConfigError for what are no views."""
    name = BY_NUMBER.get(views, views)
    found = re.fullmatch(r"(?:([1-9]\d*)-)?(center|lcr)", name)
    if found is None or int(found[1] or 1) > MOST:
        raise ConfigError(
            f"views {views!r}: give center, lcr, 10-center or 10-lcr (at most {MOST} clips), or as numbers 1, 3, 10, 30"
        )
    return found[2] if found[1] == "1" else name


def views_of(views: str) -> Views:
    """What these views are. Raises ConfigError."""
    clips, _, places = views_name(views).rpartition("-")
    return Views(int(clips or 1), PLACES[places])
