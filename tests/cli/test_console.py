"""What the console shows: names as they are, and the commands to type next."""

from dataclasses import replace
from pathlib import Path

import pytest

from autovid.cli.accuracy_lines import accuracies, broken, each_class, of_classes
from autovid.cli.console import announce_search, copyable, show_derived
from autovid.costs import Params
from autovid.data import Video, VideoSet
from autovid.run import RunDirectory
from autovid.search import Constraint, Searched, settings_for
from autovid.space import load_space
from autovid.train import Evaluation


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    space = load_space("tiny")
    videos = VideoSet("[/data]", Path("."), ("a",), (Video("x.mp4", 0),), ())
    announce_search(space, videos, settings_for(space, proxy=True, videos=1), "runs/[/b]")
    copyable(["where  runs/[/b]"])
    said = capsys.readouterr().out
    assert "data [/data] (1 class, 1 video)" in " ".join(said.split())
    assert said.count("runs/[/b]") == 3
    assert "watch  tensorboard --logdir 'runs/[/b]'\n" in said


@pytest.mark.parametrize(
    ("data", "option", "balance"),
    [
        ("synthetic", "", False),
        ("mine", " --data 'my videos' --recipe proxy", False),
        ("mine", " --data 'my videos' --recipe proxy --balance", True),
    ],
)
def test_what_to_type_next_names_the_videos_that_were_searched_on(
    data: str, option: str, balance: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = load_space("tiny")
    (arch,) = space.sample(1)
    arch = replace(arch, cost={"macs": 1, "params": 1}, provenance={"log_probability": -1.0})
    settings = settings_for(space, proxy=True, videos=1, balance=balance)
    RunDirectory.create_or_resume(tmp_path / "run", {"data": data}, kind="search").close()
    limits = (Constraint(Params()),) if balance else ()
    searched = Searched(space, settings, limits, {}, {}, settings.steps)
    show_derived(arch, tmp_path / "a.yaml", searched, tmp_path / "run", "my videos")
    said = capsys.readouterr().out
    assert f"autovid train {tmp_path / 'a.yaml'}{option}  # from scratch\n" in said
    assert f"autovid random-baseline --searched {tmp_path / 'a.yaml'}{option}  # against random ones\n" in said
    cost = "params" if limits else "flops"
    assert f"autovid derive {tmp_path / 'run'} --{cost} MIN:MAX  # another range, from the same search\n" in said


def test_an_accuracy_says_which_classes_it_leaves_out() -> None:
    figures = dict.fromkeys(Evaluation.__struct_fields__, 0)
    one = Evaluation(**{**figures, "top1_of_classes": {"a": 100.0, "b": None, "c": 50.0}})
    assert of_classes(one) == " of 2 of 3 classes"
    assert of_classes(Evaluation(**{**figures, "top1_of_classes": {"a": 100.0, "b": 0.0}})) == ""


def test_of_few_classes_each_accuracy_is_printed() -> None:
    """Of 1,000 classes none; those without a video do not count; and there is no top-5 of five classes."""
    figures = dict.fromkeys(Evaluation.__struct_fields__, 0) | {"top5": None, "mean_ap": None, "ap_of_classes": {}}
    few = Evaluation(**{**figures, "top1_of_classes": {"a": 100.0, "b": None, "c": 50.0}})
    assert each_class(few) == ["classes: a 100.00 %, c 50.00 %; their mean 75.00 %"]
    assert accuracies(few) == ["top-1 0.00 %"]
    many = Evaluation(**{**figures, "top5": 90.0, "top1_of_classes": dict.fromkeys("abcdefg", 10.0)})
    assert each_class(many) == []
    assert accuracies(many) == ["top-1 0.00 %", "top-5 90.00 %"]


def test_broken_videos_are_counted_and_listed() -> None:
    figures = dict.fromkeys(Evaluation.__struct_fields__, 0) | {"videos": 9}
    whole, one, two = (
        broken(Evaluation(**{**figures, "decoded": decoded}), Path("runs/x/faults.jsonl")) for decoded in (9, 8, 7)
    )
    assert whole == []
    assert one == ["1 broken video is left out; runs/x/faults.jsonl has the reasons"]
    assert two == ["2 broken videos are left out; runs/x/faults.jsonl has the reasons"]
