import json
import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import Toy, ctrl_c, diverge, same, start

from autovid.errors import ConfigError, DivergedError, RunError
from autovid.run import Interrupted, RunDirectory, TaskOutcome, TaskState, run_task


def go(run: RunDirectory, task: Toy, **options: Any) -> TaskOutcome:
    return run_task(task, run, seed=1, **{"checkpoint_every": 3, **options})


def final(run: RunDirectory) -> TaskState:
    latest = run.latest()
    assert latest is not None
    assert latest.step == 10
    return latest.state


def records(run: RunDirectory) -> list[dict[str, Any]]:
    """Both logs, without the time of day."""
    lines = [line for name in ("metrics", "probabilities") for line in (run.path / f"{name}.jsonl").open()]
    return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """An uninterrupted run of ten steps."""
    with start(tmp_path_factory.mktemp("whole") / "run") as run:
        go(run, Toy())
    return run


@pytest.mark.parametrize("step", range(10))
def test_stopped_in_any_step_it_goes_on_bit_for_bit(tmp_path: Path, whole: RunDirectory, step: int) -> None:
    with start(tmp_path / "run") as run, pytest.raises(Interrupted):
        go(run, Toy(hooks={step: ctrl_c}))
    with start(tmp_path / "run", resume=True) as run:
        outcome = go(run, Toy())
        assert outcome.first == (step + 1 if step else 0)  # the first one is not waited for
        assert same(final(run), final(whole))
        assert records(run) == records(whole)


@pytest.mark.parametrize("step", range(10))
def test_failed_in_any_step_it_goes_on_bit_for_bit(tmp_path: Path, whole: RunDirectory, step: int) -> None:
    """A failure, unlike a signal, loses the steps since the last checkpoint: they are done again."""
    with start(tmp_path / "run") as run, pytest.raises(DivergedError):
        go(run, Toy(hooks={step: diverge}))
    with start(tmp_path / "run", resume=True) as run:
        assert go(run, Toy()).first == max(saved for saved in (0, 3, 4, 6, 9) if saved <= step)
        assert same(final(run), final(whole))
        assert records(run) == records(whole)


def test_steps_depend_on_the_seed(tmp_path: Path, whole: RunDirectory) -> None:
    with start(tmp_path / "run") as run:
        run_task(Toy(), run, seed=2)
        assert not same(final(run), final(whole))


def test_how_often_it_saves_changes_nothing(tmp_path: Path, whole: RunDirectory) -> None:
    with start(tmp_path / "run") as run:
        go(run, Toy(), checkpoint_every=timedelta(0))
        assert same(final(run), final(whole))


def test_a_finished_run_has_nothing_left_to_do(whole: RunDirectory) -> None:
    before = (whole.path / "metrics.jsonl").read_bytes()
    with start(whole.path, resume=True) as run:
        assert go(run, Toy(hooks=dict.fromkeys(range(10), diverge))) == TaskOutcome(10, 10, 0.0, {})
    assert (whole.path / "metrics.jsonl").read_bytes() == before


def test_a_diverged_task_makes_no_checkpoint(tmp_path: Path) -> None:
    with start(tmp_path / "run") as run:
        with pytest.raises(DivergedError):
            go(run, Toy(hooks={5: diverge}))
        assert run.steps() == [3, 4]
        assert "DivergedError: the loss is nan" in (run.path / "log.txt").read_text()


def test_probabilities_are_recorded_where_there_are_any(whole: RunDirectory) -> None:
    lines = [json.loads(line) for line in (whole.path / "probabilities.jsonl").read_text().splitlines()]
    assert [line.pop("step") for line in lines] == [0, 2, 4, 6, 8]
    # Of three, in fp32: exponentials, their sum and a quotient are a dozen roundings of 2**-24, 7e-7; 1e-6 is allowed.
    assert all(line.keys() == {"alpha"} and sum(line["alpha"]) == pytest.approx(1) for line in lines)


def test_the_log_says_how_a_run_goes_on(tmp_path: Path) -> None:
    with start(tmp_path / "run") as run:
        go(run, Toy(), resume_command="autovid search -o 'my run' --resume")
    assert (tmp_path / "run" / "log.txt").read_text().count("goes on with: autovid search -o 'my run' --resume") == 1


def test_milestones_are_saved_and_kept(whole: RunDirectory) -> None:
    assert whole.kept() == [4]
    assert whole.steps() == [4, 9, 10]


def test_a_torn_line_and_later_records_are_cut_off(tmp_path: Path, whole: RunDirectory) -> None:
    with start(tmp_path / "run") as run, pytest.raises(DivergedError):
        go(run, Toy(hooks={5: diverge}))
    for name, known in ("metrics", 5), ("probabilities", 3):  # one more than the checkpoint of step 4 knows
        file = tmp_path / "run" / f"{name}.jsonl"
        assert len(file.read_text().splitlines()) == known
        file.write_bytes(file.read_bytes() + b'{"step": 5, "lo')
    with start(tmp_path / "run", resume=True) as run:
        go(run, Toy())
        assert records(run) == records(whole)


def test_a_last_line_without_its_end_is_not_continued(tmp_path: Path, whole: RunDirectory) -> None:
    """An editor may have taken the last newline away: that record is lost, and no other."""
    with start(tmp_path / "run") as run, pytest.raises(Interrupted):
        go(run, Toy(hooks={5: ctrl_c}))
    file = tmp_path / "run" / "metrics.jsonl"
    file.write_bytes(file.read_bytes().rstrip())
    with start(tmp_path / "run", resume=True) as run:
        go(run, Toy())
        assert records(run) == [record for record in records(whole) if record["step"] != 5]


def test_a_value_that_is_not_finite_is_null_in_the_log(tmp_path: Path) -> None:
    toy = Toy(steps=1)
    toy.step = lambda index: {"loss": 1.0, "norm": float("inf")}  # type: ignore[method-assign]
    toy.probabilities = lambda index: {"alpha": [1.0]}  # type: ignore[method-assign]
    with start(tmp_path / "run") as run:
        go(run, toy)
        assert records(run) == [{"step": 0, "loss": 1.0, "norm": None}, {"step": 0, "alpha": [1.0]}]


def test_the_same_scalars_are_in_tensorboard_once(tmp_path: Path, whole: RunDirectory) -> None:
    with start(tmp_path / "run") as run, pytest.raises(DivergedError):
        go(run, Toy(hooks={5: diverge}))
    with start(tmp_path / "run", resume=True) as run:
        go(run, Toy())
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    # TensorBoard keeps float32: 6e-8 relative.
    expected = [(record["step"], pytest.approx(record["loss"])) for record in records(whole) if "loss" in record]
    assert [(event.step, event.value) for event in board.Scalars("loss")] == expected


def test_histograms_pictures_and_notices_are_asked_for(tmp_path: Path) -> None:
    class Pictured(Toy):
        def histograms(self) -> dict[str, torch.Tensor]:
            return {"alpha": self.alpha}

        def images(self) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
            return {"prior": np.full((4, 6, 3), 200, np.uint8)}

        def notices(self) -> list[str]:
            return ["the part sparse has not moved"] if self.count == 5 else []

    with start(tmp_path / "run") as run:
        go(run, Pictured())
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"), {"images": 0, "histograms": 0})
    board.Reload()
    assert [event.step for event in board.Histograms("alpha")] == [3]  # ends a part
    assert [(e.step, e.width, e.height) for e in board.Images("prior")] == [(3, 6, 4)]
    assert (tmp_path / "run" / "log.txt").read_text().count("the part sparse has not moved") == 1


def test_a_stop_says_how_to_go_on(tmp_path: Path) -> None:
    with start(tmp_path / "run") as run, pytest.raises(Interrupted) as stop:
        go(run, Toy(hooks={6: ctrl_c}), resume_command="autovid search -o 'my run' --resume")
    assert stop.value.exit_code == 130
    expected = "stopped after step 7 of 10; saved at step 7. Go on with: autovid search -o 'my run' --resume"
    assert str(stop.value) == expected


def test_one_ctrl_c_stops_inside_the_first_step(tmp_path: Path, whole: RunDirectory) -> None:
    def unexpected() -> None:
        ctrl_c()
        pytest.fail("the first step went on")

    with start(tmp_path / "run") as run, pytest.raises(Interrupted, match="stopped at once; nothing saved") as stop:
        go(run, Toy(hooks={0: unexpected}))
    assert stop.value.exit_code == 130
    with start(tmp_path / "run", resume=True) as run:
        assert go(run, Toy()).first == 0
        assert same(final(run), final(whole))


def test_a_second_ctrl_c_stops_inside_the_step(tmp_path: Path, whole: RunDirectory) -> None:
    def twice() -> None:
        ctrl_c()
        try:
            ctrl_c()
        except Exception:  # a loader that takes every error for a broken video
            pytest.fail("the second Ctrl-C was swallowed")

    with start(tmp_path / "run") as run, pytest.raises(Interrupted, match="stopped at once; saved at step 6") as stop:
        go(run, Toy(hooks={7: twice}))
    assert stop.value.exit_code == 130
    with start(tmp_path / "run", resume=True) as run:
        assert go(run, Toy()).first == 6
        assert same(final(run), final(whole))


def test_a_second_ctrl_c_inside_a_save_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    def stubborn(fd: int) -> None:
        ctrl_c()
        ctrl_c()

    with start(tmp_path / "run") as run:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted, match="saved at step 6"):
            go(run, Toy(hooks={8: lambda: patch.setattr(os, "fsync", stubborn)}))
        latest = run.latest()
        assert latest is not None
        assert latest.step == 6
        assert list(run.path.glob("checkpoints/.tmp*")) == []


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with start(tmp_path / "run") as run, pytest.raises(DivergedError):
        go(run, Toy(hooks={5: diverge}))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_ignored_ctrl_c_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with start(tmp_path / "run") as run:
            assert go(run, Toy(hooks={5: ctrl_c})).steps == 10
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_runs_outside_the_main_thread(tmp_path: Path, whole: RunDirectory) -> None:
    with start(tmp_path / "run") as run:
        thread = threading.Thread(target=go, args=(run, Toy()))
        thread.start()
        thread.join()
        assert same(final(run), final(whole))


def test_a_disk_that_is_full_ends_the_run_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with start(tmp_path / "run") as run:
        with pytest.raises(RunError, match=r"metrics.jsonl: No space left on device"):
            go(run, Toy(hooks={5: lambda: monkeypatch.setattr(os, "write", full)}))
        monkeypatch.undo()
        latest = run.latest()
        assert latest is not None
        assert latest.step == 4


def test_a_checkpoint_past_the_end_is_refused(tmp_path: Path) -> None:
    with start(tmp_path / "run") as run:
        go(run, Toy())
        with pytest.raises(RunError, match="at step 10, past the end at 8"):
            go(run, Toy(steps=8))


def test_saving_every_zero_steps_is_refused(tmp_path: Path) -> None:
    with start(tmp_path / "run") as run, pytest.raises(ConfigError, match="every 0 steps"):
        go(run, Toy(), checkpoint_every=0)


def test_going_on_with_another_version_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(tmp_path / "run") as run:
        with pytest.raises(DivergedError):
            go(run, Toy(hooks={5: diverge}))
        monkeypatch.setattr("autovid.run.loop.__version__", "99.0")
        go(run, Toy())
    assert "going on with 99.0" in (tmp_path / "run" / "log.txt").read_text()
