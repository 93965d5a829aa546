"""Finalists: which architectures are trained, how long, and who wins."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from autovid.cli import main
from autovid.data import open_videos
from autovid.errors import ConfigError, DivergedError
from autovid.search import derive, read_constraints, read_search
from autovid.search.derivation import Searched
from autovid.space import Architecture, load_architecture
from autovid.studies import finalists
from autovid.studies.by_training import Trainer
from autovid.studies.finalists import best_architectures, halve
from autovid.train.recipe import make_recipe

SHORT = ["--steps", "1", "--batch", "4", "--crop", "16", "--decoders", "0", "--precision", "fp32", "--samples", "2"]


@pytest.fixture(scope="module")
def run(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finalists") / "run"
    words = ["search", "--space", "tiny", "--data", str(tiny_videos), "--flops", "0.007:0.008", "-o", str(out)]
    assert main([*words, *SHORT]) == 0
    return out


@pytest.fixture(scope="module")
def searched(run: Path) -> Searched:
    return read_search(run)


@pytest.mark.slow
def test_they_are_the_choice_and_the_best_of_the_strategy(searched: Searched) -> None:
    archs = best_architectures(searched, 5)
    assert len({arch.hash for arch in archs}) == 5
    assert archs[0].hash == derive(searched).hash
    assert all(7_000_000 <= arch.macs() <= 8_000_000 for arch in archs)
    others = best_architectures(searched, 2, read_constraints(searched.space, {"flops": "0.006:0.0065"}))
    assert all(6_000_000 <= arch.macs() <= 6_500_000 for arch in others)


class Played:
    """Plays trainings: the top-1 of an architecture after some epochs is looked up."""

    def __init__(self, top1: dict[tuple[str, float], float | None]) -> None:
        self.top1, self.trained = top1, []  # type: ignore[var-annotated]

    def __call__(
        self, arch: Architecture, trainer: Trainer, folder: Path, epochs: float, title: str, *, longer: bool
    ) -> float | None:
        folder.mkdir(exist_ok=True)
        assert longer == (epochs > trainer.recipe.epochs)
        self.trained.append((arch.hash, epochs))
        if (arch.hash, epochs) == self.stops:
            raise KeyboardInterrupt
        return self.top1[arch.hash, epochs]

    stops: Any = None


def test_the_better_half_is_trained_twice_as_long(
    searched: Searched, tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs = best_architectures(searched, 5)
    a, b, c, d, e = (arch.hash for arch in archs)
    first = {(a, 1.0): 40.0, (b, 1.0): 50.0, (c, 1.0): None, (d, 1.0): 40.0, (e, 1.0): 10.0}
    played = Played(
        {**first, (b, 2.0): 50.0, (a, 2.0): 60.0, (d, 2.0): 60.0, (a, 4.0): 61.0, (d, 4.0): 70.0, (d, 8.0): 1.0}
    )
    monkeypatch.setattr(finalists, "_train", played)
    recipe = make_recipe(searched.space, name="proxy", epochs=8.0)
    trainer = Trainer(open_videos(tiny_videos), str(tiny_videos), recipe, "cpu")
    played.stops = (d, 2.0)
    with pytest.raises(KeyboardInterrupt):
        halve(archs, trainer, tmp_path / "f")
    played.stops = None
    best, results = halve(archs, trainer, tmp_path / "f")
    rounds = {1.0: [a, b, c, d, e], 2.0: [b, a, d], 4.0: [a, d], 8.0: [d]}
    trained = [(key, epochs) for epochs, keys in rounds.items() for key in keys]
    stopped_at = trained.index((d, 2.0))
    assert played.trained == [*trained[: stopped_at + 1], *trained[stopped_at:]]  # what was done is not repeated
    assert best.hash == d
    assert [(one.hash, one.epochs) for one in results] == trained
    with pytest.raises(ConfigError, match="other finalists or epochs"):
        halve(archs[:3], trainer, tmp_path / "f")
    (tmp_path / "f" / "finalists.csv").write_text("hash,epochs\nx\n")
    with pytest.raises(ConfigError, match="is no table of finalists"):
        halve(archs, trainer, tmp_path / "f")
    played.top1 = dict.fromkeys(played.top1)
    with pytest.raises(DivergedError, match="every finalist diverged"):
        halve(archs, trainer, tmp_path / "g")


@pytest.mark.slow
def test_the_winner_is_derived_and_says_that_val_chose_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["derive", str(run), "--finalists", "2", "--train", "2", "--decoders", "0"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.index("Chance is 8.3 % of val; one training each.") < shown.index("2 finalists")
    with (run / "finalists" / "finalists.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epochs"] for row in rows] == ["1", "1", "2"]
    arch = load_architecture(run / "architecture-finalists.yaml")
    assert arch.hash == rows[-1]["hash"]
    assert arch.provenance["chosen"].startswith("the best of 2 finalists, trained by successive halving up to 2 epochs")
    assert arch.provenance["chosen"].endswith(" % (chance 8.3 %) on val, which has chosen it")
    before = (run / "finalists" / "finalists.csv").read_bytes()
    assert main(words) == 0  # nothing is trained again
    assert (run / "finalists" / "finalists.csv").read_bytes() == before
    for more, message in ((["--front", "2"], "two ways"), (["--no-range"], "leave out --no-range")):
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err
    shutil.rmtree(run / "finalists")
