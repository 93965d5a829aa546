"""The experiments on images, with images: two steps and an evaluation on CIFAR-100 and ImageNet, made very small."""

import json
from pathlib import Path

import pytest
from image_sets import make_cifar, make_imagenet

from autovid.cli import main
from autovid.run import RunDirectory

IMAGES = ("cifar100", "imagenet")


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("images")
    for name, folder in (("cifar100", make_cifar(root / "c")), ("imagenet", make_imagenet(root / "i"))):
        assert main(["data", "index", name, str(folder), "-o", str(root / f"{name}.csv")]) == 0
    return {name: root / f"{name}.csv" for name in IMAGES}


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
def test_it_trains_and_is_evaluated(name: str, indexes: dict[str, Path], tmp_path: Path) -> None:
    out, own = tmp_path / "run", {"cifar100": ["milestones=[0.5]"], "imagenet": ["crop=32", "warmup=0", "workers=1"]}
    words = ["train", f"rms_{name}", "--data", str(indexes[name]), "-o", str(out), "--device", "cpu", "--epochs", "1"]
    settings = ["batch=3", "lr=0.001", "precision=fp32", *own[name]]
    assert main([*words, *(word for value in settings for word in ("--set", value))]) == 0
    recipe = RunDirectory.open(out).config["recipe"]
    assert (recipe["frames"], recipe["crop"]) == (1, 32)
    assert recipe["crops"] == {"cifar100": "pad", "imagenet": "area"}[name]
    content = json.loads((out / "evaluation-center.json").read_text())
    assert (content["step"], content["videos"], content["decoded"]) == (
        2,
        *{"cifar100": (4, 4), "imagenet": (3, 3)}[name],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "name", "clips", "val"),
    [
        ("resnet110_cifar100", "cifar100", "1 frame of 32x32, spread over the video; 4 pixels of black around it", 4),
        (
            "resnet50_imagenet_300",
            "imagenet",
            "1 frame of 224x224, spread over the video; random crop of 8% to 100%",
            3,
        ),
    ],
    ids=IMAGES,
)
def test_its_plan_takes_the_data(
    experiment: str, name: str, clips: str, val: int, indexes: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The other eight experiments say no more than what is trained with: test_experiments."""
    assert main(["train", experiment, "--data", str(indexes[name]), "--batch", "8", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"{name}: 3 classes, 6 videos, {val} in val ({name} has" in shown
    assert clips in shown
    assert "ready; nothing was trained" in shown
