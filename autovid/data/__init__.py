"""Video data: indexes of data sets, decoding, sampling, augmentation, the embedded synthetic videos, the loader."""

from typing import TYPE_CHECKING

from autovid.data.bad_videos import FaultLog
from autovid.data.index import Video, VideoSet, hold_out
from autovid.data.sources import open_videos

if TYPE_CHECKING:
    from autovid.data.frame_cache import FrameCache
    from autovid.data.loader import Batch, ClipLoader

__all__ = ["Batch", "ClipLoader", "FaultLog", "FrameCache", "Video", "VideoSet", "hold_out", "open_videos"]


def __getattr__(name: str) -> object:
    """Load the loader and its cache on first use: they import torch, which reading an index does not need."""
    if name in ("Batch", "ClipLoader"):
        from autovid.data import loader

        return getattr(loader, name)
    if name == "FrameCache":
        from autovid.data.frame_cache import FrameCache

        return FrameCache
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
