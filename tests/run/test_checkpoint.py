import hashlib
import json
import resource
from pathlib import Path

import pytest
import torch
from toy import Toy, same, start

from autovid.errors import RunError
from autovid.run import RunDirectory, TaskState
from autovid.run.checkpoint import FILES, DamagedError, read_checkpoint, read_manifest, write_checkpoint

ALL_FILES = (*FILES, "manifest.json")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with valid checkpoints of the steps 1, 2 and 3."""
    run, toy = start(tmp_path / "run"), Toy()
    for index in range(3):
        toy.step(index)
        run.save(index + 1, toy.state(), keep=index == 0)
    return run


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_the_layout_is_the_documented_one(run: RunDirectory) -> None:
    names = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    steps = {f"checkpoints/step-00000{step}/{name}" for step in (1, 2, 3) for name in ALL_FILES}
    assert names == steps | {"config.yaml", ".lock"}


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    toy = Toy(ballast=5)
    toy.step(0)
    with start(tmp_path / "run") as run:
        run.save(1, toy.state())
        saved = run.latest()
    assert saved is not None
    assert same(saved.state, toy.state())


def test_channels_last_and_shared_tensors_can_be_saved(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 2, 2, 2).to(memory_format=torch.channels_last_3d)
    with start(tmp_path / "run") as run:
        run.save(1, TaskState(model={"a": weight, "tied": weight, "part": weight[1:]}))
        saved = run.load(1).state.model
    assert torch.equal(saved["a"], weight)  # bytes, written and read
    assert torch.equal(saved["tied"], weight)
    assert torch.equal(saved["part"], weight[1:])


@pytest.fixture
def contents(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of step 3, read from here instead of from the disk: tens of thousands of times."""
    data = {name: (run.path / "checkpoints/step-000003" / name).read_bytes() for name in ALL_FILES}
    monkeypatch.setattr("autovid.run.checkpoint._read_file", lambda path: data[path.name])
    return data


def is_noticed(folder: Path) -> bool:
    try:
        read_checkpoint(folder)
    except DamagedError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_FILES)
def test_every_flipped_bit_is_noticed(contents: dict[str, bytes], name: str) -> None:
    whole, folder = contents[name], Path("step-000003")
    assert not is_noticed(folder)
    for bit in range(8 * len(whole)):
        changed = whole[bit // 8] ^ 1 << bit % 8
        contents[name] = whole[: bit // 8] + bytes([changed]) + whole[bit // 8 + 1 :]
        assert is_noticed(folder), f"bit {bit}"


@pytest.mark.parametrize("name", ALL_FILES)
def test_every_truncation_is_noticed(contents: dict[str, bytes], name: str) -> None:
    whole, folder = contents[name], Path("step-000003")
    for length in range(len(whole)):
        contents[name] = whole[:length]
        assert is_noticed(folder), f"length {length}"


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_damaged_checkpoint_is_skipped_with_file_and_reason(run: RunDirectory, name: str) -> None:
    flip(run.path / "checkpoints/step-000003" / name, 77)
    notices: list[str] = []
    latest = run.latest(notices.append)
    assert latest is not None
    assert latest.step == 2
    assert len(notices) == 1
    assert "step-000003" in notices[0]
    assert name in notices[0]


def test_a_missing_manifest_means_no_checkpoint(run: RunDirectory) -> None:
    (run.path / "checkpoints/step-000003/manifest.json").unlink()
    latest = run.latest(lambda line: None)
    assert latest is not None
    assert latest.step == 2


def test_a_renamed_checkpoint_is_not_of_that_step(run: RunDirectory) -> None:
    (run.path / "checkpoints/step-000003").rename(run.path / "checkpoints/step-000009")
    latest = run.latest(lambda line: None)
    assert latest is not None
    assert latest.step == 2


def test_without_a_valid_one_the_run_says_so(run: RunDirectory) -> None:
    for step in (1, 2, 3):
        (run.path / f"checkpoints/step-00000{step}/optim.pt").unlink()
    with pytest.raises(RunError, match=r"no valid checkpoint \(.*step-000003: optim.pt: No such file"):
        run.latest()
    assert run.steps() == [1, 2, 3]  # nothing was renamed or deleted


def test_damaged_ones_do_not_crowd_out_good_ones(run: RunDirectory) -> None:
    toy = Toy()
    for step in (4, 5):
        run.save(step, toy.state())
        flip(run.path / f"checkpoints/step-00000{step}/state.json", 3)
    assert run.steps() == [1, 4, 5]
    latest = run.latest(lambda line: None)
    assert latest is not None
    assert latest.step == 1
    run.save(2, toy.state())
    run.save(6, toy.state())
    assert run.steps() == [1, 2, 6]
    assert all(run.load(step).step == step for step in run.steps())


def test_the_best_stays_also_for_whoever_must_go_back_a_step(tmp_path: Path) -> None:
    """Until both of the newest two know a better one."""
    with start(tmp_path / "run") as run:
        for step, best, left in ((1, 1, [1]), (2, 1, [1, 2]), (3, 1, [1, 2, 3]), (4, 4, [1, 3, 4]), (5, 4, [4, 5])):
            run.save(step, Toy().state(), best=best)
            assert (run.steps(), run.best()) == (left, best)
        run.save(6, Toy().state(), best=4)
    assert [run.load(step).best for step in run.steps()] == [4, 4, 4]


def test_the_newest_two_and_the_kept_stay(run: RunDirectory) -> None:
    run.save(4, Toy().state())
    assert run.steps() == [1, 3, 4]
    assert run.kept() == [1]


def test_a_reader_changes_nothing(run: RunDirectory) -> None:
    flip(run.path / "checkpoints/step-000003/state.json", 3)
    (run.path / "checkpoints/.tmp-000004-1").mkdir()
    before = sorted(run.path.rglob("*"))
    latest = RunDirectory.open(run.path).latest(lambda line: None)
    assert latest is not None
    assert latest.step == 2
    assert sorted(run.path.rglob("*")) == before


def test_saving_over_a_damaged_one_of_the_same_step_mends_it(run: RunDirectory) -> None:
    flip(run.path / "checkpoints/step-000003/state.json", 3)
    toy = Toy()
    toy.step(0)
    run.save(3, toy.state())
    assert same(run.load(3).state, toy.state())
    assert list(run.path.glob("checkpoints/.tmp*")) == []


def test_a_full_disk_leaves_the_earlier_checkpoint(run: RunDirectory) -> None:
    """The kernel itself refuses to write past a limit, after a part of the file has been written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RunError, match=r"the checkpoint of step 4 could not be saved.*free some space"):
            run.save(4, Toy(ballast=50_000).state())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    latest = run.latest()
    assert latest is not None
    assert latest.step == 3
    assert list(run.path.glob("checkpoints/.tmp*")) == []


def test_leftovers_of_killed_runs_are_cleared_when_it_goes_on(run: RunDirectory) -> None:
    half = run.path / "checkpoints/.tmp-000004-12345"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    (run.path / ".config.yaml.12345.tmp").write_bytes(b"half")
    run.close()
    with start(run.path, resume=True):
        assert not half.exists()
        assert not (run.path / ".config.yaml.12345.tmp").exists()


def test_what_a_file_would_change_is_refused_when_saving(tmp_path: Path) -> None:
    with start(tmp_path / "run") as run:
        with pytest.raises(TypeError, match=r"info.sizes"):
            run.save(1, TaskState(info={"sizes": (1, 2)}))
        with pytest.raises(TypeError, match=r"info.names: the key 3"):
            run.save(1, TaskState(info={"names": {3: "x"}}))
        with pytest.raises(TypeError, match=r"optim.sgd\[0\]"):
            run.save(1, TaskState(optim={"sgd": [Path("x")]}))
        assert run.latest() is None


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("exploded"),))


def test_a_checkpoint_that_carries_code_is_refused(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its sums are right, so it is not damage: only weights_only stands between it and us."""
    monkeypatch.chdir(tmp_path)
    folder = run.path / "checkpoints/step-000003"
    torch.save({"sgd": Bomb()}, folder / "optim.pt")
    data = (folder / "optim.pt").read_bytes()
    body = json.loads((folder / "manifest.json").read_text())
    body.pop("manifest_sha256")
    body["files"]["optim.pt"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    body["manifest_sha256"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")
    assert read_manifest(folder).step == 3
    with pytest.raises(RunError, match="cannot be read"):
        run.load(3)
    assert not (tmp_path / "exploded").exists()


def test_a_checkpoint_of_a_newer_format_is_no_damage(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autovid.run.checkpoint.FORMAT", 2)
    run.save(4, Toy().state())
    monkeypatch.undo()
    with pytest.raises(RunError, match="newer autovid"):
        run.latest()


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    with start(tmp_path / "run") as run:
        write_checkpoint(run.path / "checkpoints", 1, Toy().state(), "0" * 64, keep=False)
        with pytest.raises(RunError, match="does not belong to"):
            run.latest()
