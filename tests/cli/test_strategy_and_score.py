"""Which strategy searches, and how its architectures are scored: by flags, by experiments, by the strategy itself."""

from pathlib import Path

import pytest

from autovid.cli import main
from autovid.search import read_search

SMALL = ["--batch", "4", "--decoders", "0", "--precision", "fp32", "--device", "cpu"]
RANGE = ["--flops", "0.0071:0.0079"]
TRAINED = ["--epochs", "0.3", "--frames", "8", "--crop", "24", "--stride", "1", "--recipe", "proxy", *SMALL]


@pytest.fixture
def experiment(tmp_path: Path, tiny_videos: Path) -> Path:
    """A search of two steps a part."""
    path = tmp_path / "own.yaml"
    path.write_text(
        "command: search\nabout: a small search\nspace: tiny\nconstraints: {flops: '0.0071:0.0079'}\n"
        "dataset: {name: tiny, classes: 12, train: 24, val: 12}\n"
        f"data: {tiny_videos}\nrecipe: {{batch: 4, steps: 2, frames: 8, crop: 16, jitter: [16, 20]}}\n"
    )
    return path


@pytest.mark.slow
def test_flags_lay_strategy_and_score_over_an_experiment(experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["search", str(experiment), "--strategy", "random", "--score", "supernet", "-o", str(out), *SMALL]
    assert main([*words, "--set", "strategy.architectures=2"]) == 0
    settings = read_search(out).settings
    assert (settings.strategy, settings.score, settings.options) == ("random", "supernet", {"architectures": 2})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategy", "parsek"], "no strategy is called 'parsek'; did you mean parsec"),
        (["--score", "guess"], "score guess: give supernet, training or table:NAME"),
        (["--set", "score=guess"], "score: score guess: give supernet, training or table:NAME"),
        (["--set", "strategy.name=parsek"], "strategy.name: no strategy is called 'parsek'"),
        (["--budget", "5m"], "--budget is for a search without an experiment"),
        (["--recipe", "proxy"], "--recipe is for a search without an experiment"),
        (["--score", "training", "--strategy", "random", "--set", "samples=3"], "recipe.samples does not go with the"),
        (["--score", "table:bench", "--set", "batch=3"], "recipe.batch does not go with the score table:bench"),
        (["--strategy", "random", "-n", "2", "--score", "supernet"], "-n does not go with --score supernet"),
    ],
)
def test_what_an_experiment_cannot_be_searched_with(
    experiment: Path, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(experiment), *words, "-o", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not (tmp_path / "run").exists()


def test_an_experiment_with_a_score_of_its_own_is_scored_so(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "command: search\nabout: by a table\nspace: bench\nconstraints: {flops: '0.00254:0.00258'}\n"
        "dataset: {name: bench, classes: 24, train: 1, val: 2400}\nscore: table:bench\n"
        "strategy: {name: random, architectures: 2}\nrecipe: {seed: 3}\n"
    )
    assert main(["search", str(path), "-o", str(tmp_path / "run")]) == 0
    settings = read_search(tmp_path / "run").settings
    assert (settings.score, settings.strategy, settings.seed) == ("table:bench", "random", 3)
    assert settings.options == {"architectures": 2}


def test_a_file_asks_a_table_a_number_of_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "command: search\nabout: by a table\nspace: bench\nconstraints: {flops: '0.00254:0.00258'}\n"
        "dataset: {name: bench, classes: 24, train: 1, val: 2400}\nscore: table:bench\n"
        "strategy: {name: evolution}\nrecipe: {steps: -3}\n"
    )
    assert main(["search", str(path), "-o", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip()
    assert "steps -3: a search by a table takes one number above 0" in error
    assert "\n" not in error
    assert not (tmp_path / "run").exists()


def test_a_searchs_experiment_can_train_its_architectures(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search", str(experiment), "--set", "steps=null", "--strategy", "random", "-n", "2", "--dry-run"]
    assert main([*words, "--epochs", "1"]) == 0
    plan = capsys.readouterr().out
    assert plan.startswith("2 architectures of 0.0071–0.0079 GFLOPs")
    assert "24x24" not in plan
    assert not (tmp_path / "runs").exists()


def test_random_search_trains_unless_told_otherwise_and_its_run_is_named_by_the_strategy(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["search", "--space", "tiny", "--strategy", "random", *RANGE, "-n", "1", "--data", str(tiny_videos)]
    assert main([*words, *TRAINED]) == 0
    settings = read_search(Path("runs/random-tiny")).settings
    assert (settings.strategy, settings.score) == ("random", "training")


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["--samples", "5"], "--samples"),
        (["--beta", "3"], "--beta"),
        (["--cost-gradient", "exact"], "--cost-gradient"),
        (["--open-prior", "evidence"], "--open-prior"),
        (["--likelihood", "sum"], "--likelihood"),
        (["--in-range"], "--in-range"),
        (["--archs-per-update", "3"], "--archs-per-update"),
        (["--alpha-every", "3"], "--alpha-every"),
        (["--split", "batch"], "--split"),
        (["--held-out-fraction", "0.3"], "--held-out-fraction"),
        (["--budget", "5m"], "--budget"),
        (["--steps", "5"], "--steps"),
        (["--arch-lr", "0.1"], "--arch-lr"),
        (["--workers", "2"], "--workers"),
    ],
)
def test_trainings_refuse_what_only_a_supernet_uses(
    words: list[str], flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["random-baseline", "--space", "tiny", *RANGE, *words, "-o", str(tmp_path / "run")]
    assert main(command) == 2
    error = capsys.readouterr().err.strip()
    assert f"{flag} does not go with --score training: only --score supernet" in error
    assert "\n" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["-n", "2"], ["--searched", "x"], ["--augment", "none"], ["--gpus-per-trial", "1"]])
def test_a_supernet_refuses_what_only_trainings_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--space", "tiny", *RANGE, *words]) == 2
    assert f"{words[0]} does not go with --score supernet: only --score training" in capsys.readouterr().err


def test_a_table_refuses_what_it_does_not_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "--space", "bench", "--score", "table:bench", "-o", str(tmp_path / "run")]
    for more in (["--batch", "4"], ["--samples", "2"], ["--data", "synthetic"], ["--dry-run"]):
        assert main([*words, *more]) == 2
        assert f"{more[0]} does not go with --score table:bench" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_number_of_architectures_needs_a_strategy_that_takes_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "--space", "tiny", *RANGE, "--strategy", "evolution", "--score", "training"]
    assert main([*words, "-n", "4"]) == 2
    assert "-n: the strategy evolution has no setting `architectures`" in capsys.readouterr().err
    assert main([*words, "--dry-run", *TRAINED]) == 0
    assert "\n256 architectures of" in capsys.readouterr().out  # 32 rounds of 8
    smaller = ["--set", "strategy.rounds=3", "--set", "strategy.batch=2"]
    assert main([*words, "--dry-run", *smaller, *TRAINED]) == 0
    assert "\n6 architectures of" in capsys.readouterr().out


def test_the_plan_has_the_number_that_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["random-baseline", "--space", "tiny", *RANGE, "--set", "strategy.architectures=3", "--dry-run", *TRAINED]
    assert main(words) == 0
    assert "\n3 architectures of" in capsys.readouterr().out
    assert main([*words, "-n", "2"]) == 2
    assert "-n and --set strategy.architectures say the same" in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_of_the_baseline_does_not_say_how_many_evolution_trains(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["random-baseline", "auto_tsnet_random", "--strategy", "evolution", "--dry-run"]
    assert main(words) == 2
    assert "architectures in" in capsys.readouterr().err
    assert main([*words, "--set", "architectures=null", "--set", "strategy.rounds=2"]) == 0
    assert "16 architectures of 2.4–2.5 GFLOPs" in capsys.readouterr().out


@pytest.mark.slow
def test_flags_go_before_the_number_of_a_file(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.yaml"
    baseline.write_text(
        "command: random-baseline\nabout: five\nspace: tiny\nconstraints: {flops: '0.0071:0.0079'}\narchitectures: 5\n"
        "dataset: {name: tiny, classes: 12, train: 24, val: 12}\nrecipe: {epochs: 1, batch: 4, lr: 0.1}\n"
    )
    small = experiment.read_text().replace("steps: 2", "epochs: 1").replace("crop: 16, jitter: [16, 20]", "crop: 24")
    experiment.write_text(f"{small}strategy: {{name: random, architectures: 5}}\n")
    for words in (["random-baseline", str(baseline)], ["search", str(experiment)]):
        for more, number in (["--set", "strategy.architectures=3"], 3), (["-n", "2"], 2), ([], 5):
            assert main([*words, *more, "--dry-run"]) == 0
            assert capsys.readouterr().out.startswith(f"{number} architectures of"), (words, more)
        assert main([*words, "-n", "2", "--set", "strategy.architectures=3", "--dry-run"]) == 2
        assert "-n and --set strategy.architectures say the same" in capsys.readouterr().err
