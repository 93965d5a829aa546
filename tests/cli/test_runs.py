"""autovid runs: what small files say of a folder of runs."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autovid.cli import main

MINE = {"name": "mine", "fingerprint": "f"}
EVALUATION = {
    "top1": 41.666, "mean_ap": None, "gflops_per_view": 0.5, "views": "center", "split": "val", "data": "mine",
    "fingerprint": "f", "step": 6,
}  # fmt: skip
OTHERS = {
    "center-train": {"split": "train"},
    "center-test": {"split": "test"},
    "center-all": {"split": "all", "data": "new"},  # by an old version: the newer one's file has a name of its own
    "center-on-new-f": {"data": "new"},
    "center-on-mine-g": {"fingerprint": "g"},
    "center-step-3": {"step": 3},
}  # none of them is the run's result
GO_ON = "2026-01-01 00:00:00 goes on with: autovid train x -o 'a b' --resume\n"


def make(folder: Path, name: str, kind: str, log: str, **config: object) -> Path:
    run = folder / name
    (run / "checkpoints" / "step-000006").mkdir(parents=True)
    (run / "config.yaml").write_text(json.dumps({"autovid": "0.1.0", "kind": kind, **config}))
    (run / "log.txt").write_text(log)
    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ended = "2026-01-01 00:00:00 step 6 of 6: finished\n"
    trained = make(tmp_path, "trained", "train", ended, data=MINE)
    (trained / "evaluation-center.json").write_text(json.dumps(EVALUATION))
    for name, changes in OTHERS.items():
        (trained / f"evaluation-{name}.json").write_text(json.dumps({**EVALUATION, "top1": 99.0, **changes}))
    searched = make(tmp_path, "searched", "search", ended, data="mine", settings={"proxy": True, "balance": True})
    (searched / "architecture.yaml").write_text(json.dumps({"cost": {"macs": 7_500_000}}))
    (searched / "checkpoints" / "step-000006" / "state.json").write_text(json.dumps({"source": "/my videos"}))
    full = {"proxy": False, "batch": 4, "balance": False}
    searched = make(tmp_path, "searched-in-full", "search", ended, data="mine", settings=full)
    (searched / "architecture.yaml").write_text(json.dumps({"cost": {"macs": 7_500_000}}))
    (searched / "checkpoints" / "step-000006" / "state.json").write_text(json.dumps({"source": "mine"}))
    make(tmp_path, "stopped", "train", f"{GO_ON}2026-01-01 00:00:00 step 3 of 6: stopped by a signal\n")
    make(tmp_path, "failed", "train", "x step 0 of 6: starting\nx step 2: DivergedError: the loss is nan\n")
    make(tmp_path, "baseline", "search", "", settings={"score": "training"})
    (tmp_path / "no-run").mkdir()
    (tmp_path / "no-run" / "config.yaml").write_text("a: 1\n")
    return tmp_path


def test_every_run_has_its_state_accuracy_and_next_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = make(folder, "running", "train", "x step 0 of 6: starting\n")
    (running / "metrics.jsonl").write_text('{"step": 3}\n')
    with (running / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["runs", str(folder), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "trained": "finished",
        "searched": "finished",
        "searched-in-full": "finished",
        "stopped": "stopped at step 3 of 6",
        "failed": "failed (DivergedError) at step 2 of 6",
        "baseline": "stopped",
        "running": "running at step 4 of 6",
    }
    assert (rows["trained"]["top1"], rows["trained"]["gflops"], rows["trained"]["kind"]) == (
        41.666,
        0.5,
        "train on mine",
    )
    assert rows["searched"]["gflops"] == 0.0075
    assert rows["baseline"]["kind"] == "random-baseline"
    assert {name: row["next"] for name, row in rows.items() if row["next"]} == {
        "trained": f"autovid evaluate {folder / 'trained'} --views 10-lcr",
        "searched": f"autovid train {folder / 'searched'} --data '/my videos' --recipe proxy --balance",
        "searched-in-full": f"autovid train {folder / 'searched-in-full'} --data mine --recipe full --batch 4",
        "stopped": "autovid train x -o 'a b' --resume",
    }


def test_a_training_whose_views_are_measured_is_not_to_be_measured_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The accuracy and the cost stay those of the centre view."""
    lcr = {"views": "10-lcr", "top1": 50.0, "gflops_per_view": 0.7}
    (folder / "trained" / "evaluation-10-lcr.json").write_text(json.dumps({**EVALUATION, **lcr}))
    row = rows_of(folder, capsys)["trained"]
    assert row["next"] == f"autovid report {folder / 'trained'}"
    assert (row["top1"], row["gflops"]) == (41.666, 0.5)


def rows_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["runs", str(folder), "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_videos_of_several_classes_are_told_by_their_map(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "trained" / "evaluation-center.json"
    file.write_text(json.dumps({**EVALUATION, "mean_ap": 33.333}))
    row = rows_of(folder, capsys)["trained"]
    assert (row["top1"], row["mean_ap"]) == (None, 33.333)
    assert main(["runs", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "mAP 33.33 %" in shown
    assert "41.67 %" not in shown


def test_an_evaluation_of_a_checkpoint_that_is_no_longer_the_best_is_not_the_result(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "trained" / "checkpoints" / "step-000006" / "manifest.json").write_text('{"best": 3}')
    assert rows_of(folder, capsys)["trained"]["top1"] == 99.0  # evaluation-center-step-3.json


def test_copies_beside_the_checkpoints_are_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run, file in (("trained", '{"best": 3}'), ("searched", '{"source": "/other videos"}')):
        copy = folder / run / "checkpoints" / "step-000009.damaged"
        copy.mkdir()
        for name in ("manifest.json", "state.json"):
            (copy / name).write_text(file)
    rows = rows_of(folder, capsys)
    assert rows["trained"]["top1"] == 41.666
    assert "--data '/my videos'" in rows["searched"]["next"]


def several(folder: Path, kind: str, log: str = "") -> Path:
    """A sweep or a comparison of two trainings, which have come to 41.7 and 60 %."""
    names = ("network=a", "network=b")
    trainings = {name: {"data": MINE, "recipe": {"epochs": 1}} for name in names}
    run = make(folder, kind, kind, log, **trainings)
    for name, top1 in zip(names, (EVALUATION["top1"], 60.0)):
        inside = make(run, name, "train", "", data=MINE)
        content = {**EVALUATION, "top1": top1, "gflops_per_view": top1 / 100}
        (inside / "evaluation-center.json").write_text(json.dumps(content))
    return run


def test_a_sweep_is_finished_when_all_its_trainings_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = several(tmp_path, "sweep", GO_ON)
    done = [{"settings": ["network=a"], "top1": 41.666}, {"settings": ["network=b"], "stopped_at": 2}]
    for outcomes, state, following in (
        (done, "finished", ""),
        (done[:1], "stopped", "autovid train x -o 'a b' --resume"),
        ([done[0], {"settings": ["network=b"], "failed": "loss nan"}], "stopped", "autovid train x -o 'a b' --resume"),
    ):
        (run / "trials.json").write_text(json.dumps(outcomes))
        row = rows_of(tmp_path, capsys)["sweep"]
        assert (row["state"], row["next"]) == (state, following)
        assert (row["kind"], row["top1"], row["gflops"]) == ("sweep on mine", 60.0, 0.6)


def test_a_comparison_has_the_accuracy_of_its_best_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = several(tmp_path, "compare")
    (run / "standings.json").write_text(json.dumps([{"top1": 41.7, "failed": ""}, {"top1": 60.0, "failed": ""}]))
    row = rows_of(tmp_path, capsys)["compare"]
    assert (row["state"], row["kind"], row["top1"], row["gflops"]) == ("finished", "compare on mine", 60.0, 0.6)


def test_the_list_is_a_table_and_needs_no_torch(folder: Path) -> None:
    code = "import sys, autovid.cli; autovid.cli.main(sys.argv[1:]); print('torch' in sys.modules)"
    words = [sys.executable, "-c", code, "runs", str(folder)]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.endswith("False\n")
    assert "41.67 %" in said
    assert "next   autovid " in said
    assert f"watch  tensorboard --logdir {folder}\n" in said


def test_a_folder_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(tmp_path)]) == 0
    assert "no runs in " in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "nowhere")]) == 5
    assert "no such folder" in capsys.readouterr().err
