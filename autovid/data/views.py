"""The views that a video is tested in: clips along time, and crops of each.

"center" is one clip and its centre crop, "lcr" one clip with a left, a centre and a right crop (the top, the middle and
the bottom one of a video that is higher than wide); "10-center" and "10-lcr" are ten clips of these. Clips are placed
by `clips.test_indices`: uniform ones at the segments' middles and frames beside them, dense ones evenly from the
first frame to the last start that fits, or the first one alone.

Crops are cut from frames whose short side is the crop's, or where a number of pixels follows, as in "center@256", that
many: a crop of 224 leaves out a border then.

Papers count views: 1, 3, 10 and 30 are center, lcr, 10-center and 10-lcr. The clip level of Chen et al., "Deep Analysis
of CNN-based Spatio-temporal Representations for Action Recognition", 2021, arXiv 2010.11757, is center, its video level
10-center, and 2-lcr its two clips for Something-Something.
"""

import re
from typing import NamedTuple

from autovid.clip import MOST as LARGEST
from autovid.errors import ConfigError

PLACES = {"center": (0.5,), "lcr": (0.0, 0.5, 1.0)}
BY_NUMBER = {"1": "center", "3": "lcr", "10": "10-center", "30": "10-lcr"}
MOST = 100  # clips of a video


class Views(NamedTuple):
    """Clips in time, the places of the crops along the longer side, and the short side in pixels (None: the crop's)."""

    clips: int
    places: tuple[float, ...]
    short_side: int | None = None

    @property
    def total(self) -> int:
        """Number of views of a video."""
        return self.clips * len(self.places)


def views_name(views: str) -> str:
    """Return the canonical name of views: "10-lcr" for "30". Raises ConfigError for an unknown name."""
    crops, at, side = views.partition("@")
    name = BY_NUMBER.get(crops, crops)
    match = re.fullmatch(r"(?:([1-9]\d*)-)?(center|lcr)", name, re.ASCII)
    known_side = re.fullmatch(r"[1-9]\d{0,5}", side, re.ASCII) and int(side) <= LARGEST["crop"]
    if match is None or int(match[1] or 1) > MOST or (at and not known_side):
        raise ConfigError(
            f"views {views!r}: give center, lcr, 10-center or 10-lcr (at most {MOST} clips), or as 1, 3, 10, 30; "
            f"the short side of frames may follow, as in center@256 (at most {LARGEST['crop']})"
        )
    return (match[2] if match[1] == "1" else name) + at + side


def views_of(views: str) -> Views:
    """Parse the name of views. Raises ConfigError."""
    crops, _, side = views_name(views).partition("@")
    clips, _, places = crops.rpartition("-")
    return Views(int(clips or 1), PLACES[places], int(side) if side else None)
