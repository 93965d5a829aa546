"""The Mini- sets: the classes that their authors list, those of a file, or half of them by a seed (test_layouts)."""

import json
from pathlib import Path

import msgspec
import pytest

from autovid.cli import main
from autovid.data import Video, VideoSet, open_videos
from autovid.data.tools.mini import LISTS, mini
from autovid.errors import DataError

PUBLISHED: dict[str, list[str]] = json.loads(LISTS.read_text(encoding="utf-8"))["lists"]


def data_set(*classes: str) -> VideoSet:
    """One video to train on and one to validate for each class."""
    train, val = (tuple(Video(f"{split}/{i}.mp4", i) for i in range(len(classes))) for split in ("train", "val"))
    return VideoSet("whole", Path("/data"), classes, train, val)


def test_the_published_lists_have_the_published_sizes() -> None:
    """Chen et al. (2021, arXiv:2010.11757), Table 4: 200 and 87 classes, half of 400 and of 174."""
    assert {name: (len(own), len(set(own))) for name, own in PUBLISHED.items()} == {
        "kinetics400": (200, 200),
        "ssv2": (87, 87),
    }
    assert (PUBLISHED["kinetics400"][0], PUBLISHED["kinetics400"][-1]) == ("air drumming", "yoga")
    assert "Stacking number of something" in PUBLISHED["ssv2"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_ibm_takes_the_list_of_this_data_set_in_the_order_of_its_classes(name: str) -> None:
    published = PUBLISHED[name]
    whole = data_set("a class more", *reversed(published), "Zumba")
    chosen, provenance = mini(whole, classes="ibm")
    assert chosen.classes == tuple(reversed(published))
    assert [whole.classes[int(Path(video.path).stem)] for video in chosen.train] == list(chosen.classes)
    assert [video.label for video in chosen.val] == list(range(len(published)))
    assert (provenance["list"], provenance["classes of it"]) == (f"ibm's Mini- set of {name}", len(published) + 2)


def test_folders_may_spell_the_names_their_way() -> None:
    spelt = [f" {name.title().replace(' ', '_')}" for name in PUBLISHED["kinetics400"]]
    assert mini(data_set(*spelt), classes="ibm")[0].classes == tuple(spelt)


def test_classes_that_the_data_set_lacks_are_named() -> None:
    without = data_set(*(name for name in PUBLISHED["ssv2"] if name not in ("Folding something", "Twisting something")))
    with pytest.raises(DataError, match="does not have 2 of the 87 .* ssv2: Folding something, Twisting something$"):
        mini(without, classes="ibm")
    with pytest.raises(DataError, match=r"does not have 200 of the 200 .*: air drumming, .*, \.\.\.$"):
        mini(data_set("0", "1"), classes="ibm")  # numbers in place of names


def test_a_file_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, names in (("train", ("run", "sit", "high jump")), ("val", ("run", "sit", "high jump", "swim"))):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "1.mp4").touch()
    listed, out = tmp_path / "mine.txt", tmp_path / "mine.csv"
    listed.write_bytes("\ufeffSwim\r\n\r\nHigh_Jump\r\n".encode())
    words = ["data", "mini", str(tmp_path), "-o", str(out), "--classes", str(listed)]
    assert main(words) == 0
    assert "without a video to train on: swim\n" in capsys.readouterr().out
    assert open_videos(out).classes == ("high jump", "swim")
    about = msgspec.json.decode((tmp_path / "mine.about.json").read_bytes())
    assert (about["provenance"]["by"], about["provenance"]["list"]) == ("a list of classes", str(listed))
    for text, complaint in (
        ("swim\nSWIM\n", "its 2 names stand for 1 classes"),
        ("\n", "no classes; expected a name a line"),
        ("fly\n", "does not have 1 of the 1 classes of .*mine.txt: fly"),
    ):
        listed.write_text(text)
        assert main(words) == 4
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1
        assert complaint.split(" of .*")[0] in shown
    with pytest.raises(SystemExit):
        main([*words, "--seed", "1"])


def test_two_classes_of_one_spelling_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("high jump\n")
    with pytest.raises(DataError, match="its 1 names stand for 2 classes of whole"):
        mini(data_set("High jump", "high_jump", "sit"), classes=str(tmp_path / "mine.txt"))
