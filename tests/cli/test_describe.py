"""`autovid describe` of spaces, architectures and runs, in text and for machines; `autovid list` of what there is."""

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import autovid
from autovid.cli import main
from autovid.clip import Clip
from autovid.config.resources import experiments_dir, search_spaces_dir
from autovid.costs import Memory
from autovid.run import RunDirectory
from autovid.space import Architecture, load_space

SPACES = ("tiny", "two_stream", "x3d")


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no cell of a table is broken."""
    monkeypatch.setenv("COLUMNS", "200")


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def described(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(shown(["describe", *words, "--json"], capsys))
    return content


def refused(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    assert main(words) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def cells(text: str) -> list[list[str]]:
    """The rows of the tables in a text."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[:1] == "│"]


def saved(space: str, folder: Path, seed: int = 0) -> tuple[Architecture, str]:
    arch = load_space(space).sample(1, seed=seed)[0]
    arch.save(folder / "a.yaml")
    return arch, str(folder / "a.yaml")


# An architecture


OTHER = {"frames": 32, "crop": 64, "classes": 7}


@pytest.mark.slow
@pytest.mark.parametrize(("space", "other"), [("tiny", {}), ("tiny", OTHER), ("x3d", OTHER), ("two_stream", {})])
def test_an_architecture_adds_up_to_what_count_says(
    space: str, other: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Site by site and stage by stage, at the reference input or another one."""
    arch, file = saved(space, tmp_path)
    description = described(
        [file, *(word for key, value in other.items() for word in (f"--{key}", str(value)))], capsys
    )
    reference = load_space(space).reference
    frames, crop, classes = (other.get(key, getattr(reference, key)) for key in ("frames", "crop", "classes"))
    with torch.device("meta"):
        net = autovid.build(arch, classes)
    counted = autovid.count(net, Clip(frames, crop))
    assert (description["params"], description["macs"], description["macs_by_kind"]) == (
        counted.params,
        counted.macs,
        counted.macs_by_kind,
    )
    for rows in (description["stages"], description["sites"]):
        assert sum(row["macs"] for row in rows) == counted.macs
        assert sum(row["params"] for row in rows) == counted.params
    assert description["input"] == {"frames": frames, "crop": crop, "classes": classes}
    assert f"{frames} frames at {crop}x{crop}, {classes} classes" in description["convention"]
    assert (description["hash"], description["choices"]) == (arch.hash, arch.choices)


def test_every_site_costs_what_a_trace_of_its_module_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arch, file = saved("tiny", tmp_path, seed=2)
    description = described([file], capsys)
    with torch.device("meta"):
        net = autovid.build(arch).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, net.clip.frames, net.clip.crop, net.clip.crop))
    traced = {path: sum(by.values()) // 2 for path, by in counter.get_flop_counts().items()}
    modules = dict(net.sites.items())
    assert sum(row["macs"] > 0 for row in description["sites"]) > 12
    for row in description["sites"]:
        name = row["site"].replace(".", "-")
        assert row["macs"] == traced.get(f"SearchNetwork.sites.{name}", 0), name
        assert row["params"] == sum(p.numel() for p in modules[name].parameters()), name


def three_costs(row: dict[str, Any]) -> list[str]:
    return [f"{row['macs'] / 1e6:,.2f}", f"{row['params']:,}", f"{row['memory_bytes'] / 1e6:,.2f}"]


def test_the_table_of_an_architecture_holds_the_same_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arch, file = saved("tiny", tmp_path)
    description, text = described([file], capsys), shown(["describe", file], capsys)
    rows = {row[0]: row[2:] for row in cells(text)}
    figures = {row["site"]: row for row in description["sites"]}
    figures |= {
        f"{s['stage']}, {s['blocks']} block{'s' * (s['blocks'] > 1)}": s for s in description["stages"] if s["blocks"]
    }
    site_rows = {name: row for name, row in rows.items() if name != "all"}
    assert {name: three_costs(row) for name, row in figures.items()} == site_rows
    assert rows["all"] == three_costs(description)
    assert description["memory_bytes"] == Memory().of(arch)
    assert f"takes {description['step_peak_bytes'] / 1e6:,.1f} MB at its peak" in text.replace("\n", " ")
    assert "sparse.stage2, 2 blocks" in rows
    assert f"architecture {arch.hash} of tiny" in text
    assert description["convention"] in text.replace("\n", "")
    is_what = {row[0]: row[1] for row in cells(text)}
    kernel = [arch.choices[f"sparse.stage3.block1.{name}"] for name in ("temporal_kernel", "spatial_kernel")]
    width = arch.choices["sparse.stage3.width"]
    assert is_what["sparse.stage3.block1"].startswith(f"{width} ch, {kernel[0]}×{kernel[1]}², ×")
    words = {"glore": "GloRe", "nonlocal": "non-local", "skip": "skip"}
    assert is_what["attention.stage1"] == words[str(arch.choices["attention.stage1"])]


# A run


def test_a_run_is_its_architecture_with_how_it_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, arch = tmp_path / "run", load_space("tiny").sample(1, seed=1)[0]
    RunDirectory.create_or_resume(run, {}, kind="search").close()
    line = refused(["describe", str(run)], capsys, 5)
    assert f"{run} is a run of 'autovid search': it has no architecture.yaml yet; go on with: " in line
    assert line.endswith("the command that began it, and --resume")
    how = {"by": "autovid search", "log_probability": -3.25, "proxy": True}
    Architecture(arch.space, arch.network, arch.reference, arch.choices, {}, how).save(run / "architecture.yaml")
    description = described([str(run)], capsys)
    assert description == described([str(run / "architecture.yaml")], capsys)
    assert (description["hash"], description["provenance"]) == (arch.hash, how)
    assert "log_probability: -3.25" in shown(["describe", str(run)], capsys)


# A space


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_told_by_its_parts(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    space, description = load_space(name), described([name], capsys)
    assert (description["space"], description["size"]) == (name, prod(map(len, description["decisions"].values())))
    assert {key: tuple(value) for key, value in description["decisions"].items()} == {
        d.name: d.candidates for d in space.decisions
    }
    assert [(p["name"], p["cost_fraction"], p["epochs"]) for p in description["parts"]] == [
        (p.name, p.cost_fraction, p.epochs) for p in space.parts
    ]
    assert sum(part["decisions"] for part in description["parts"]) == sum(
        len(d.candidates) > 1 for d in space.decisions
    )
    assert description["parts"][-1]["macs"] == [description["smallest_macs"], description["largest_macs"]]
    assert all(
        description["smallest_macs"] <= arch.macs() <= description["largest_macs"] for arch in space.sample(5, seed=0)
    )
    text = shown(["describe", name], capsys)
    low, high = description["smallest_macs"] / 1e9, description["largest_macs"] / 1e9
    assert f"space {name}: {len(space.decisions)} decisions, {float(space.size):.1e} architectures of " in text
    assert f"{low:.4g} to {high:.4g} GFLOPs" in text
    assert [row[:2] for row in cells(text)] == [[part["name"], str(part["decisions"])] for part in description["parts"]]
    alike = [line.partition(" x ") for line in text.splitlines() if line.startswith("  ")]
    counts = [int(number) if many else 1 for number, many, _ in alike]
    assert sum(counts) == len(space.decisions)


def test_the_ends_of_a_space_are_those_of_networks_at_any_input(capsys: pytest.CaptureFixture[str]) -> None:
    description = described(["tiny", "--crop", "64", "--frames", "32", "--classes", "7"], capsys)
    table = load_space("tiny").cost_table(crop=64, frames=32, classes=7)
    for key, row in (("smallest_macs", table.smallest()[1]), ("largest_macs", table.largest()[1])):
        with torch.device("meta"):
            net = autovid.build(load_space("tiny").architecture(row), 7)
        assert description[key] == autovid.count(net, Clip(32, 64)).macs
    assert "32 frames at 64x64, 7 classes" in description["convention"]


def test_a_file_of_a_space_is_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.yaml"
    file.write_text((search_spaces_dir() / "tiny.yaml").read_text().replace("name: tiny", "name: own"))
    assert described([str(file)], capsys) == {**described(["tiny"], capsys), "space": "own"}


def test_what_cannot_be_described_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean two_stream" in refused(["describe", "two_steam"], capsys)
    assert "autovid list" in refused(["describe", "nothing like it"], capsys)
    assert "multiple" in refused(["describe", "tiny", "--frames", "18"], capsys)
    assert str(tmp_path / "no.yaml") in refused(["describe", str(tmp_path / "no.yaml")], capsys)


# What there is


def test_list_shows_every_space_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(file.stem for file in search_spaces_dir().glob("*.yaml"))
    content = json.loads(shown(["list", "spaces", "--json"], capsys))
    assert list(content["spaces"]) == files
    assert all(f"about: {about}\n" in load_space(name).text for name, about in content["spaces"].items())
    assert set(SPACES) <= set(files)
    lines = shown(["list", "spaces"], capsys).splitlines()
    assert lines[0] == "spaces:"
    assert {line.split(None, 1)[0]: line.split(None, 1)[1] for line in lines[1:]} == content["spaces"]


def test_list_shows_every_experiment_under_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(shown(["list", "experiments", "--json"], capsys))["experiments"]
    assert sorted(content) == sorted(file.stem for file in experiments_dir().glob("*.yaml"))
    lines = shown(["list", "experiments"], capsys).splitlines()
    at = {line.strip(): number for number, line in enumerate(lines)}
    search = [line.split()[0] for line in lines[at["autovid search"] + 1 :] if line.startswith("    ")]
    assert "auto_tsnet_beta_01" in search
    assert content["rms_mini_kinetics"] == "SlowOnly-50 with RMS on Mini-Kinetics"


def test_list_alone_shows_all_that_its_kinds_do(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = (
        *("spaces", "strategies", "blocks", "fusions", "attentions", "costs"),
        *("models", "modules", "layouts", "experiments"),
    )
    assert shown(["list"], capsys) == "".join(shown(["list", kind], capsys) for kind in kinds)
    whole = json.loads(shown(["list", "--json"], capsys))
    assert whole == {kind: json.loads(shown(["list", kind, "--json"], capsys))[kind] for kind in kinds}
    assert all(whole[kind] and all(whole[kind].values()) for kind in kinds)
