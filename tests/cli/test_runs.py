"""autovid runs: what small files say of a folder of runs."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from autovid.cli import main

EVALUATION = {"top1": 41.666, "gflops_per_view": 0.5, "views_per_video": 1}
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
    trained = make(tmp_path, "trained", "train", ended, data={"name": "mine"})
    (trained / "evaluation-center.json").write_text(json.dumps(EVALUATION))
    (trained / "evaluation-center-train.json").write_text(json.dumps({**EVALUATION, "top1": 99.0}))
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
    (folder / "trained" / "evaluation-10-lcr.json").write_text(json.dumps({**EVALUATION, "views_per_video": 30}))
    assert main(["runs", str(folder), "--json"]) == 0
    (row,) = [row for row in json.loads(capsys.readouterr().out) if row["name"] == "trained"]
    assert row["next"] == f"autovid report {folder / 'trained'}"


def test_the_list_is_a_table_and_needs_no_torch(folder: Path) -> None:
    code = "import sys, autovid.cli; autovid.cli.main(sys.argv[1:]); print('torch' in sys.modules)"
    words = [sys.executable, "-c", code, "runs", str(folder)]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.endswith("False\n")
    assert "41.67 %" in said
    assert "next   autovid " in said


def test_a_folder_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(tmp_path)]) == 0
    assert "no runs in " in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "nowhere")]) == 5
    assert "no such folder" in capsys.readouterr().err
