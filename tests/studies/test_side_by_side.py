"""autovid compare: networks trained alike, each accuracy with its interval, on one page; and what it refuses."""

import json
from pathlib import Path

import msgspec
import pytest

from autovid.cli import main
from autovid.report.page import networks
from autovid.space import load_space
from autovid.studies.side_by_side import Standing, ranked, verdict, wilson

SMALL = ["--recipe", "proxy", "--epochs", "1", "--batch", "8", "--frames", "8", "--crop", "32", "--stride", "1"]
SMALL += ["--device", "cpu", "--precision", "fp32", "--decoders", "0", "--validate-every", "0"]


def standing(name: str, top1: float | None, videos: int = 100) -> Standing:
    if top1 is None:
        return Standing(name=name, kind="random", hash=name, failed="loss nan")
    low, high = wilson(top1, videos)
    cost = {"gflops": 0.5, "params": 10**6, "latency": 3.0, "latency_q1": 2.9, "latency_q3": 3.2}
    clip = {"frames": 8, "crop": 32, "videos": videos}
    return Standing(name=name, kind="searched", hash=name, top1=top1, low=low, high=high, **cost, **clip)


def test_the_interval_is_wilsons() -> None:
    assert wilson(50, 100) == pytest.approx((40.38, 59.62), abs=0.01)  # as in tables, to two digits
    assert wilson(100, 5) == pytest.approx((56.55, 100), abs=0.01)
    assert wilson(0, 10) == pytest.approx((0, 27.75), abs=0.01)


def test_the_verdict_names_what_cannot_be_told_apart() -> None:
    rivals = [standing("bad", 20), standing("diverged", None), standing("best", 60), standing("near", 55)]
    assert [one.name for one in ranked(rivals)] == ["best", "near", "bad", "diverged"]
    assert verdict(rivals) == (
        "best comes first: top-1 60.0 % (50.2 to 69.1) of 100 videos; so few videos do not tell it from near, whose "
        "intervals overlap with its own."
    )
    assert verdict([standing("diverged", None)]) == "No network is trained yet."


def test_networks_of_equal_accuracy_are_said_to_be_equal() -> None:
    assert verdict([standing("a", 60)]) == "a: top-1 60.0 % (50.2 to 69.1) of 100 videos."
    assert verdict([standing("a", 60), standing("bad", 20), standing("b", 60)]) == (
        "a and b are equal: top-1 60.0 % (50.2 to 69.1) of 100 videos."
    )
    rivals = [standing("c", 60), standing("near", 55), standing("a", 60), standing("b", 60)]
    assert verdict(rivals) == (
        "c, a and b are equal: top-1 60.0 % (50.2 to 69.1) of 100 videos; so few videos do not tell them from near, "
        "whose intervals overlap with theirs."
    )


def test_the_page_says_that_val_has_chosen_the_checkpoints() -> None:
    words = "val has chosen the checkpoint of each training"
    one = standing("a", 40)
    assert words in networks([msgspec.structs.replace(one, validations=3), standing("c", None)])
    assert words not in networks([one])


def test_names_are_text_on_the_page() -> None:
    page = networks([standing("<b>a", 40), standing("c", None)])
    assert "<b>a" not in page
    assert "&lt;b&gt;a" in page
    assert page.count("<figure>") == 2  # against cost and against latency
    assert "diverged" in page


@pytest.fixture(scope="module")
def compared(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A comparison of an architecture, one stage deep, with a random one; and its command."""
    folder = tmp_path_factory.mktemp("compare")
    load_space("tiny").sample(1, seed=3)[0].scaled(depth_factor=0.3).save(folder / "mine.yaml")
    words = ["compare", str(folder / "mine.yaml"), "random:1", "--space", "tiny", "--flops", ":0.008"]
    words += ["--data", str(tiny_videos), *SMALL, "-o", str(folder / "out")]
    assert main(words) == 0
    return folder / "out", words


@pytest.mark.slow
def test_every_network_has_a_run_an_accuracy_and_a_latency(compared: tuple[Path, list[str]]) -> None:
    out, _ = compared
    standings = json.loads((out / "standings.json").read_text())
    assert [(one["name"], one["kind"]) for one in standings] == [("mine", "architecture"), ("random-1", "random")]
    for one in standings:
        evaluation = json.loads((out / f"network={one['name']}" / "evaluation-center.json").read_text())
        assert (one["top1"], one["gflops"]) == (evaluation["top1"], evaluation["gflops_per_view"])
        assert one["low"] <= one["top1"] <= one["high"]
        assert 0 < one["latency_q1"] <= one["latency"] <= one["latency_q3"]
    page = (out / "compare.html").read_text()
    assert "random-1" in page
    assert "Top-1 against latency" in page
    assert len((out / "standings.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_it_goes_on_without_training_again(
    compared: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = compared
    before = {file: file.stat().st_mtime_ns for file in out.glob("*/metrics.jsonl")}
    (out / "compare.html").unlink()
    assert main([*words, "--resume"]) == 0
    assert {file: file.stat().st_mtime_ns for file in out.glob("*/metrics.jsonl")} == before
    assert (out / "compare.html").is_file()
    capsys.readouterr()
    assert main(["runs", str(out.parent)]) == 0
    assert "finished" in capsys.readouterr().out
    assert " goes on with: autovid " in (out / "log.txt").read_text()


@pytest.mark.slow
def test_report_says_where_the_page_is(compared: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """And its trainings can be reported side by side."""
    out, _ = compared
    capsys.readouterr()
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out == (
        f"in {out / 'compare.html'}; for a report of its trainings: autovid report {out}/*=*\n"
    )
    assert not (out / "report.html").exists()
    assert main(["report", str(out), "-o", str(out / "x.html")]) == 2
    assert f"whose own page is {out / 'compare.html'}; for a report of its" in capsys.readouterr().err
    assert main(["report", *map(str, sorted(out.glob("*=*"))), "-o", str(out / "x.html")]) == 0


def test_what_is_given_wrongly_is_named(
    compared: tuple[Path, list[str]], tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = str(compared[0].parent / "mine.yaml")
    run = str(compared[0] / "network=mine")
    rest = ["--data", str(tiny_videos), *SMALL, "-o", str(tmp_path / "out")]
    mistakes = [
        ([mine, "random:x"], "random:x: write random:N"),
        ([mine, "random:1", "random:2"], "give random:N once"),
        (["tsn_resnet18", "random:1"], "give --flops MIN:MAX, or an architecture"),
        ([mine, "--flops", ":0.008"], "are for random:N"),
        ([mine, run], "are one network; give it once"),
        (["tsn_resnet19"], "did you mean tsn_resnet"),
    ]
    for words, message in mistakes:
        assert main(["compare", *words, *rest]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "a.mp4").write_bytes(b"not opened")
    (tmp_path / "several.csv").write_text("path,label,split\na.mp4,a;b,train\na.mp4,a;b,val\n")
    assert main(["compare", mine, *rest, "--data", str(tmp_path / "several.csv")]) == 2
    assert "several: videos have several classes" in capsys.readouterr().err
    assert main(["compare", mine, "random:2", *rest, "--dry-run"]) == 0
    assert "random-2  (random, clips of 8 × 32²)" in capsys.readouterr().out
    assert main(["compare", mine, *rest, "--dry-run"]) == 0
    assert "1 network, trained alike" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
