"""The clip that a network wants to see, described. Shared by data, networks, training and export."""

import msgspec

# the largest values that make sense, of clips and of how they are learned from
MOST = {"epochs": 100_000, "batch": 65_536, "frames": 1024, "crop": 2048, "stride": 1024}


class Clip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input clip: `frames` frames, every `stride`-th of the video, each `crop` x `crop` pixels.

    `sampling` is "dense" (consecutive frames at `stride`) or "uniform" (segments over the whole video, of which each
    gives `snippet` consecutive frames; `stride` is then not used). Pixels in 0..1 are normalised with `mean` and `std`,
    per RGB channel.
    """

    frames: int
    crop: int
    stride: int = 2
    sampling: str = "dense"
    snippet: int = 1
    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)
    std: tuple[float, float, float] = (0.225, 0.225, 0.225)
