"""Real runs, as small as they can be: a search, the training of what it found, a random baseline."""

import shutil
from pathlib import Path

import pytest
from hostile_names import HOSTILE

from autovid.cli import main

CHEAP = [
    "--device",
    "cpu",
    "--precision",
    "fp32",
    "--decoders",
    "0",
    "--crop",
    "16",
    "--jitter",
    "16:20",
    "--batch",
    "4",
]
TRAIN = [*CHEAP, "--recipe", "proxy", "--epochs", "1"]


@pytest.fixture(scope="session")
def runs(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """search, train and random, the last two trained on videos of all twelve classes."""
    folder = tmp_path_factory.mktemp("reported")
    folders = {name: folder / name for name in ("search", "train", "random")}
    data = ["--data", str(tiny_videos)]
    words = ["--space", "tiny", "--flops", "0.0075:0.008", "--samples", "2", "--steps", "3", "--recipe", "proxy"]
    words += ["--alpha-every", "1", "--open-prior", "quarter"]
    assert main(["search", *words, *data, *CHEAP, "-o", str(folders["search"])]) == 0
    assert main(["train", str(folders["search"]), *data, *TRAIN, "-o", str(folders["train"])]) == 0
    words = ["--searched", str(folders["search"]), "--flops", "0.0075:0.008", "-n", "2"]
    assert main(["random-baseline", *words, *data, *TRAIN, "-o", str(folders["random"])]) == 0
    return folders


@pytest.fixture(scope="session")
def hostile(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training in a directory, and of classes, whose names are markup."""
    folder = tmp_path_factory.mktemp("hostile")
    for split in ("train", "val"):
        for source, name in zip(sorted((tiny_videos / split).iterdir()), HOSTILE):
            shutil.copytree(source, folder / "data" / split / name)
    data, out = ["--data", str(folder / "data")], folder / "<u>'run'&\""
    assert main(["train", "tsn_resnet18", "--frames", "4", *data, *TRAIN, "-o", str(out)]) == 0
    return out
