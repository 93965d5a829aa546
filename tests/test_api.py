"""From Python: what the commands do, with the same figures in the same files."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

import autovid
from autovid.api import SearchRun, TrainedRun
from autovid.cli import main
from autovid.config.resources import search_spaces_dir
from autovid.errors import AutovidError, ConfigError, CostRangeError
from autovid.plugins import forget_plugins, plugin_paths
from autovid.run import RunDirectory
from autovid.space import load_architecture, load_space
from autovid.studies.by_training import searched_at

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
SMALL = {"recipe": "proxy", "crop": 16, "jitter": (16, 20), "batch": 4, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def run(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchRun:
    """A search of two steps a part."""
    out = tmp_path_factory.mktemp("api") / "search"
    constraints = {"flops": "0.0075:0.008"}
    done = autovid.search("tiny", constraints, data=tiny_videos, out=out, options={"samples": 2}, steps=2, **SMALL)
    assert isinstance(done, SearchRun)
    return done


@pytest.fixture(scope="module")
def trained(run: SearchRun, tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """An epoch of the architecture that was searched."""
    out = tmp_path_factory.mktemp("api") / "train"
    training = autovid.train(run.derive(), data=tiny_videos, out=out, epochs=1, **SMALL)
    assert isinstance(training, TrainedRun)
    return training


def test_a_search_derives_its_own_architecture_and_others(run: SearchRun) -> None:
    arch = run.derive()
    assert arch == load_architecture(run.path / "architecture.yaml")
    assert 7_500_000 <= arch.macs() <= 8_000_000
    assert run.searched.finished
    assert 7_000_000 <= run.derive({"flops": "0.007:0.0075"}).macs() <= 7_500_000
    assert run.derive(no_range=True).provenance["range"] == "none"
    with pytest.raises(CostRangeError, match="GFLOPs"):
        run.derive({"flops": "5:6"})


@pytest.mark.slow
def test_derive_chooses_anew_as_the_command_does(run: SearchRun, tmp_path: Path, tiny_videos: Path) -> None:
    inside, hours = "0.0076:0.0079", 20  # more time than it takes, so that no clock has a say
    long = {"budget": hours * 3600.0, "device": "cpu"}
    arch = run.derive({"flops": inside}, **long)
    assert arch.provenance["chosen"].startswith("chosen among")
    written = tmp_path / "a.yaml"
    words = ["--flops", inside, "--device", "cpu", "--budget", f"{hours}h", "-o", str(written)]
    assert main(["derive", str(run.path), *words]) == 0
    assert load_architecture(written) == arch
    assert run.derive({"flops": inside}, data=tiny_videos, **long).choices == arch.choices
    scaled = run.derive(scale={"crop": 64, "frames": 32})
    assert (scaled.reference.crop, scaled.reference.frames) == (64, 32)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"no_range": True, "constraints": {"flops": "0.0076:0.0079"}}, "no_range asks for no range at all"),
        ({"data": "synthetic"}, "give constraints or finalists, too"),
        ({"epochs": 1.0}, "give constraints or finalists, too"),
        ({"scale": {"width": 2}}, "scale has no width"),
    ],
)
def test_what_cannot_be_derived(run: SearchRun, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run.derive(**asked)


@pytest.mark.slow
def test_architectures_are_trained_beside_the_searched_one(run: SearchRun, tiny_videos: Path, tmp_path: Path) -> None:
    baseline = autovid.search(
        strategy="random", searched=run, options={"architectures": 1}, out=tmp_path / "baseline",
        epochs=0.3, **SMALL,
    )  # fmt: skip
    settings = baseline.searched.settings
    assert RunDirectory.open(baseline.path).config["data"] == tiny_videos.name  # those of the search
    assert (settings.strategy, settings.score) == ("random", "training")
    with (baseline.path / "table.csv").open() as lines:
        assert [row["kind"] for row in csv.DictReader(lines)] == ["searched", "random"]
    assert baseline.derive().choices == load_architecture(baseline.path / "architecture.yaml").choices


def test_the_network_of_a_run_learns_from_its_videos_by_its_scale(
    run: SearchRun, tiny_videos: Path, tmp_path: Path
) -> None:
    small = {name: value for name, value in SMALL.items() if name not in ("recipe", "batch")}
    config = RunDirectory.open(autovid.train(run, out=tmp_path / "run", epochs=0.3, **small).path).config
    assert config["data"]["name"] == tiny_videos.name
    assert config["recipe"]["batch"] == 8  # the proxy's


@pytest.mark.slow
def test_a_training_is_compared_with_others(trained: TrainedRun, tmp_path: Path) -> None:
    """It has the recipe of the others, so that it is not trained anew."""
    baseline = autovid.search(
        strategy="random", searched=trained, options={"architectures": 1}, out=tmp_path / "baseline",
        epochs=1, **SMALL,
    )  # fmt: skip
    with (baseline.path / "table.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["kind"] for row in rows] == ["searched", "random"]
    assert float(rows[0]["top1"]) == trained.evaluation.top1
    assert not list(baseline.path.glob("searched-*"))


@pytest.mark.slow
def test_the_file_of_a_search_stands_for_it(tiny_videos: Path, tmp_path: Path) -> None:
    """Its space is nobody else's; the file of a training stands for itself."""
    with RunDirectory.create_or_resume(tmp_path / "search", {}, kind="search") as search:
        own = (search_spaces_dir() / "tiny.yaml").read_text().replace("name: tiny", "name: own")
        (search.path / "space.yaml").write_text(own)
        load_space(search.path / "space.yaml").sample(1, seed=3)[0].save(search.path / "architecture.yaml")
    baseline = autovid.search(
        data=tiny_videos, strategy="random", searched=search.path / "architecture.yaml", out=tmp_path / "baseline",
        options={"architectures": 1}, epochs=0.3, **SMALL,
    )  # fmt: skip
    assert baseline.searched.space.name == "own"
    with RunDirectory.create_or_resume(tmp_path / "train", {}, kind="train") as training:
        file = training.path / "architecture.yaml"
        baseline.derive().save(file)
    assert searched_at(file) == file


def test_a_table_scores(tmp_path: Path) -> None:
    options = {"architectures": 2}
    run = autovid.search(
        "bench", {"flops": "0.00254:0.00258"}, score="table:bench", strategy="random", options=options,
        out=tmp_path / "run",
    )  # fmt: skip
    assert run.searched.settings.score == "table:bench"
    assert 2_540_000 <= run.derive().macs() <= 2_580_000


@pytest.mark.parametrize("steps", [{"a": 3}, "4", -3, 2.5, 0, True])
def test_a_table_is_asked_a_number_of_times(steps: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"steps {steps!r}: a search by a table takes one number above 0")):
        autovid.search(
            "bench", {"flops": "0.00254:0.00258"}, score="table:bench", strategy="evolution", steps=steps,
            out=tmp_path / "run",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_table_is_not_asked_for_more_architectures_than_the_range_holds(tmp_path: Path) -> None:
    with pytest.raises(CostRangeError, match="16"):
        autovid.search(
            "bench", {"flops": "0.00254:0.00258"}, score="table:bench", strategy="random", out=tmp_path / "run"
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"bacth": 4}, "the recipe of a search has no bacth; it has epochs, steps, batch"),
        ({"batch": "many"}, "the recipe of a search: Expected `int"),
        ({"score": "guess"}, "score guess: give supernet, training or table:NAME"),
        ({"score": "training", "strategy": "random", "samples": 3}, "a recipe has no samples; it has epochs, batch"),
        ({"score": "training", "budget": 60.0}, "budget is for a supernet"),
        ({"searched": "runs/x"}, 'compared with trained architectures: give strategy="random", and no score'),
        ({"recipe": "weird"}, "recipe 'weird': a search has proxy and full"),
        ({"strategy": "random", "recipe": "weird"}, "recipe 'weird': a search has proxy and full"),
        ({"strategy": "random", "batch": "x"}, "batch 'x': Expected `int`"),
        ({"strategy": "random", "epochs": "3"}, "epochs '3': Expected `float`"),
        ({"strategy": "random", "lr_multiples": {"clasifier": 2}}, "lr multiples .*clasifier"),
        ({"score": "table:bench", "space": "bench", "batch": 3}, "a search by a table has no batch; it has steps"),
        ({"score": "table:bench", "space": "bench", "recipe": "proxy"}, "data and recipe are for networks that learn"),
    ],
)
def test_what_a_search_does_not_know(asked: dict[str, Any], message: str, tmp_path: Path) -> None:
    space = {"space": "tiny", "constraints": {"flops": "0.0075:0.008"}} if "space" not in asked else {}
    with pytest.raises(ConfigError, match=message):
        autovid.search(**space, **asked, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_is_evaluated_by_the_views_of_a_name(trained: TrainedRun, tiny_videos: Path) -> None:
    assert trained.evaluation.top1 == json.loads((trained.path / "evaluation-center.json").read_text())["top1"]
    again = autovid.evaluate(trained, device="cpu")
    assert (again.views, again.top1, again.videos) == ("center", trained.evaluation.top1, 12)
    on_train = autovid.evaluate(trained.path, data=tiny_videos, split="train", device="cpu")
    assert on_train.videos == 24


def test_predictions_are_one_a_video_or_one_a_window(trained: TrainedRun, tiny_videos: Path) -> None:
    videos = sorted((tiny_videos / "val").rglob("*.mp4"))[:2]
    predictions = autovid.predict(trained, videos, device="cpu")
    assert len(predictions) == 2
    assert autovid.predict(trained, videos[0], device="cpu") == predictions[:1]
    with pytest.raises(ConfigError, match="window -1"):
        autovid.predict(trained, videos, window=-1)


def test_a_training_names_what_its_recipe_has(run: SearchRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a recipe has no bacth; it has epochs, batch, lr"):
        autovid.train(run.derive(), out=tmp_path / "train", bacth=4)


@pytest.mark.slow
def test_a_network_by_name_takes_the_next_free_directory(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "train").mkdir(parents=True)
    spec = autovid.NetworkSpec(network="tsn_resnet18", frames=2)
    training = autovid.train(spec, data=tiny_videos, epochs=1, **SMALL)
    assert training.path == Path("runs/train-2")


@pytest.mark.usefixtures("without_plugins")
def test_one_file_of_code_needs_no_list(tmp_path: Path) -> None:
    with pytest.raises(AutovidError, match="does not exist"):
        autovid.evaluate(tmp_path / "no", plugins=str(EXAMPLES / "my_attention.py"))
    assert [path.name for path in plugin_paths()] == ["my_attention.py"]


@pytest.mark.slow
@pytest.mark.usefixtures("without_plugins")
def test_code_of_ones_own_is_named_in_each_function(tiny_videos: Path, tmp_path: Path) -> None:
    """As if each call were a program of its own: without the plugins it says which it needs."""
    plugins = [EXAMPLES / "my_attention.py", EXAMPLES / "my_conv2plus1d.py"]
    options = {"data": tiny_videos, "options": {"samples": 2}, "steps": 2, "out": tmp_path / "search", **SMALL}
    with pytest.raises(ConfigError, match="--plugin FILE"):
        autovid.search(EXAMPLES / "my_space.yaml", **options)
    run = autovid.search(EXAMPLES / "my_space.yaml", **options, plugins=plugins)
    forget_plugins()
    needs = r"needs my_\w+.py, .*\(in Python plugins=\['my_\w+.py'\]\)"
    training = {"data": tiny_videos, "epochs": 1, "out": tmp_path / "train", **SMALL}
    with pytest.raises(ConfigError, match=needs):
        autovid.train(run, **training)
    trained = autovid.train(run, **training, plugins=plugins)
    forget_plugins()
    with pytest.raises(ConfigError, match=needs):
        autovid.evaluate(trained, device="cpu")
    assert autovid.evaluate(trained, device="cpu", plugins=plugins).top1 == trained.evaluation.top1
    forget_plugins()
    video = next(tiny_videos.glob("val/*/*.mp4"))
    with pytest.raises(ConfigError, match=needs):
        autovid.predict(trained, video, device="cpu")
    assert len(autovid.predict(trained, video, device="cpu", plugins=plugins)) == 1


def test_a_cost_that_needs_a_file_takes_it_by_the_name_of_its_option(run: SearchRun, tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    table.write_text("{}")
    with pytest.raises(ConfigError, match="--latency needs --latency-table FILE: autovid latency-table measures one"):
        run.derive({"latency": ":20"})
    with pytest.raises(ConfigError, match=r"table.json is not a latency table"):
        run.derive({"latency": ":20"}, files={"latency": table})
    with pytest.raises(ConfigError, match=r"table.json is not a latency table"):
        autovid.search("tiny", {"latency": ":20"}, files={"latency": table})
