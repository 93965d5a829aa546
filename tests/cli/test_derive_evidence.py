"""Searches without a range from end to end, and what is said of a search that is at chance."""

import fcntl
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from autovid.cli import main
from autovid.config import find_experiment, read_layers, read_yaml
from autovid.search import derive, read_search
from autovid.search.plan import SearchExperiment
from autovid.space import load_architecture

SHORT = [
    "--held-out-fraction",
    "0.5",
    "--alpha-every",
    "1",
    "--steps",
    "2",
    "--batch",
    "4",
    "--crop",
    "16",
    "--samples",
    "2",
    "--decoders",
    "0",
    "--precision",
    "fp32",
]
NONE = "no range was asked for: the most probable architecture of the prior"


def search(out: Path, videos: Path, *arguments: str) -> int:
    return main(["search", "--space", "tiny", "--data", str(videos), "-o", str(out), *SHORT, *arguments])


def screen(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, in one line and without the boxes around it."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", capsys.readouterr().out)


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path) -> Path:
    out = tmp_path_factory.mktemp("evidence") / "run"
    assert search(out, tiny_videos, "--flops", "0.0075:0.008") == 0
    return out


def with_losses(run: Path, folder: Path, loss: float) -> Path:
    """The same search with other held-out losses in its log."""
    shutil.copytree(run, folder)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        record["held_out_loss"] = loss + 0.01 * (record["step"] % 2)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.mark.slow
def test_a_search_without_a_range_works_from_end_to_end(
    tmp_path: Path, tiny_videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert search(out, tiny_videos, "--beta", "0") == 0
    shown = screen(capsys)
    assert "no range asked for: beta has no effect, and what is found may cost anything" in shown
    assert NONE in shown
    assert read_yaml(out / "config.yaml").as_type(dict)["constraints"] == {}
    content = (out / "architecture.yaml").read_bytes()
    assert load_architecture(out / "architecture.yaml").provenance["range"] == "none"
    (out / "architecture.yaml").unlink()
    assert search(out, tiny_videos, "--beta", "0", "--resume") == 0
    assert (out / "architecture.yaml").read_bytes() == content
    assert main(["derive", str(out)]) == 0
    assert NONE in screen(capsys)
    assert main(["derive", str(out), "--no-range"]) == 0
    same = load_architecture(out / "architecture-no-range.yaml")
    assert same == load_architecture(out / "architecture.yaml")
    assert main(["report", str(out)]) == 0
    assert "; no range was asked for." in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_no_range_takes_the_likeliest_candidate_of_every_decision(
    ranged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["derive", str(ranged), "--no-range", "-o", str(tmp_path / "a.yaml")]) == 0
    assert NONE in screen(capsys)
    arch, searched = load_architecture(tmp_path / "a.yaml"), read_search(ranged)
    logp = dict(zip((d.name for d in searched.space.decisions), searched.log_probs(searched.space)))
    for name, value in arch.choices.items():
        taken = searched.space.candidates[name].index(value)
        assert logp[name][taken] == logp[name].max()
    assert arch.provenance["range"] == "none"
    assert arch == derive(searched, no_range=True)
    assert arch.provenance["log_probability"] > derive(searched).provenance["log_probability"]


def test_a_search_that_has_saved_nothing_says_how_it_goes_on(
    ranged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(ranged, run, ignore=shutil.ignore_patterns("step-*", "log.txt"))
    assert main(["derive", str(run)]) == 5
    assert capsys.readouterr().err.endswith("saved nothing yet; go on with: the command that began it, and --resume\n")
    (run / "log.txt").write_text("2026-01-01 00:00:00 goes on with: autovid search -o run --resume\n")
    assert main(["derive", str(run)]) == 5
    assert capsys.readouterr().err.endswith("go on with: autovid search -o run --resume\n")
    with (run / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["derive", str(run)]) == 5
    assert capsys.readouterr().err.endswith("it is at work: it saves every few minutes\n")


@pytest.mark.parametrize("other", [["--flops", "0.008:0.009"], ["--latency", "1:2"]])
def test_no_range_and_a_range_is_one_line(ranged: Path, other: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["derive", str(ranged), "--no-range", *other]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_papers_row_without_a_range_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    constraints = {}
    for name in ("0", "005", "01", "02"):
        path = find_experiment(f"auto_tsnet_beta_{name}")
        assert path is not None
        constraints[name] = read_layers(path).as_type(SearchExperiment).constraints
    asked = {"flops": "1.37:1.43"}
    assert constraints == {"0": {}, "005": asked, "01": asked, "02": asked}
    assert main(["search", "auto_tsnet_beta_0", "--dry-run"]) == 0
    assert "range    none asked for: what is found may cost " in capsys.readouterr().out


def test_a_search_records_what_chance_is(ranged: Path) -> None:
    """Twelve classes with a video each in the half that the prior learns on; a search of two steps is no better."""
    evidence = read_search(ranged).evidence
    # ln(12) from a sum of twelve float64 terms: 1e-12 is a thousand times their rounding
    assert all(one.chance == (pytest.approx(np.log(12), abs=1e-12), 12, 12, 1, 0) for one in evidence.parts)
    assert [one.part for one in evidence.parts] == ["sparse", "dense", "attention"]


def test_at_chance_is_said_first_and_nothing_is_won(
    ranged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = with_losses(ranged, tmp_path / "run", 2.5)
    assert main(["derive", str(run)]) == 0
    shown = screen(capsys)
    assert shown.startswith(" derived The supernet is at chance: held-out loss 2.50")
    assert "What the prior prefers reflects FLOPs and noise, not accuracy." in shown
    arch = load_architecture(run / "architecture.yaml")
    assert arch.provenance["better_than_chance"] is False
    assert arch.provenance["evidence"].startswith("The supernet is at chance: ")
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("The supernet is at chance: held-out loss 2.50") == 2  # what was found; every decision
    assert "lead by more than" not in page
    assert "Clearest: " not in page


def test_better_than_chance_is_said_and_counted(
    ranged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = with_losses(ranged, tmp_path / "run", 1.0)
    assert main(["derive", str(run)]) == 0
    shown = screen(capsys)
    assert "The supernet is better than chance: held-out loss 1.00" in shown
    assert "at chance" not in shown
    assert load_architecture(run / "architecture.yaml").provenance["better_than_chance"] is True
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "35 decisions lead by more than 50 points" in page
    assert page.index("The supernet is better than chance") < page.index("lead by more than")
    assert "at chance" not in page


def test_what_parts_at_chance_have_decided_is_not_counted(ranged: Path, tmp_path: Path) -> None:
    run = with_losses(ranged, tmp_path / "run", 1.0)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) | ({"held_out_loss": 2.6} if number < 4 else {}) for number, line in enumerate(lines)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "The supernet is at chance in sparse and dense: " in page
    assert "of 2 decisions lead by more than 50 points" in page


@pytest.mark.slow
def test_the_end_of_a_search_says_it(tmp_path: Path, tiny_videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path / "run", tiny_videos, "--steps", "1", "--flops", "0.0075:0.008") == 0
    assert re.search(r"found in [\d.]+ min The supernet is at chance: held-out loss ", screen(capsys))
