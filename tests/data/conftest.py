"""A video that most tests of the data read, and a set in shards."""

from pathlib import Path

import pytest
from counting import counting_frames, write

from autovid.cli import main
from autovid.data import remote


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good MP4 of 60 counted frames, 64x48, with a key frame every 12 and B-frames between."""
    return write(tmp_path_factory.mktemp("counting") / "good.mp4", counting_frames(60), bf="2")


@pytest.fixture(scope="module")
def packed(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny videos in several shards."""
    out = tmp_path_factory.mktemp("packed") / "shards"
    assert main(["data", "pack", str(tiny_videos), "-o", str(out), "--shard-size", "0.05M"]) == 0
    return out


@pytest.fixture
def shard_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of shards."""
    monkeypatch.setenv("AUTOVID_CACHE", str(tmp_path / "cache"))
    remote._folder.cache_clear()
    return tmp_path / "cache/shards"
