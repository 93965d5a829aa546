"""A video that most tests of the data read."""

from pathlib import Path

import pytest
from counting import counting_frames, write


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good MP4 of 60 counted frames, 64x48, with a key frame every 12 and B-frames between."""
    return write(tmp_path_factory.mktemp("counting") / "good.mp4", counting_frames(60), bf="2")
