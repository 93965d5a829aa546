"""Spaces and architectures as data: sizes, sampling, hashes, files that stand alone."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autovid
from autovid.cli import main
from autovid.errors import AutovidError, ConfigError, CostRangeError
from autovid.search import settings_for
from autovid.space import Architecture, load_architecture, load_space


def test_numbers_of_architectures_are_kept_and_belong_to_their_space() -> None:
    tiny = load_space("tiny")
    rows = np.stack([np.arange(len(tiny.sizes)) % np.array(tiny.sizes), np.zeros(len(tiny.sizes), np.int64)])
    archs = [tiny.architecture(row) for row in rows]
    rows_again = tiny.index(archs)
    assert np.array_equal(rows_again, rows)
    first = rows[0].copy()
    rows[0] = 0  # the numbers of an architecture are its own
    assert np.array_equal(tiny.index(archs)[0], first)
    changed = replace(archs[0], choices=archs[1].choices)
    assert np.array_equal(tiny.index([changed]), rows[1:])
    turned = replace(tiny, decisions=tuple(replace(d, candidates=d.candidates[::-1]) for d in tiny.decisions))
    assert [turned.architecture(row) for row in turned.index(archs)] == archs
    assert not np.array_equal(turned.index(archs), tiny.index(archs))
    assert pickle.loads(pickle.dumps(archs[0])) == archs[0]


@pytest.mark.parametrize("name", ["tiny", "x3d", "two_stream"])
def test_the_size_is_the_product_of_the_candidates(name: str) -> None:
    space = load_space(name)
    assert space.size == prod(len(d.candidates) for d in space.decisions)
    assert len({d.name for d in space.decisions}) == len(space.decisions)


def test_a_space_larger_than_any_float_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = load_space("tiny").text.replace("{depth: 2}", "{depth: 240}")
    (tmp_path / "large.yaml").write_text(text)
    assert main(["describe", str(tmp_path / "large.yaml")]) == 0
    said = capsys.readouterr().out
    size = load_space(tmp_path / "large.yaml").size
    assert f"e+{len(str(size)) - 1} architectures" in said
    assert "242 x dense.*.spatial_kernel: 3, 5" in said
    assert "sparse.stage2.width: 24, 32, 48" in said


def test_the_published_space_has_six_variables_and_three_parts() -> None:
    space = load_space("two_stream")
    last = {name.split(".")[-1] for name in space.candidates if "stage" in name.split(".")[1] and "." in name[7:]}
    assert {"width", "temporal_kernel", "spatial_kernel", "expansion"} <= last
    kinds = {name.split(".")[0] for name in space.candidates}
    assert kinds == {"sparse", "dense", "fusion", "attention"}
    assert [(p.name, p.epochs, p.lr, p.arch_lr, p.warmup) for p in space.parts] == [
        ("sparse", 800, 0.4, 0.015, 0.25),
        ("dense", 400, 0.2, 0.015, 0.25),
        ("attention", 200, 0.2, 0.010, 0.25),
    ]
    assert [p.cost_fraction for p in space.parts] == [0.57, 0.82, 1]


def test_sampling_is_uniform_and_a_function_of_the_seed() -> None:
    space = load_space("tiny")
    assert space.sample(5, seed=1) == space.sample(5, seed=1)
    assert space.sample(5, seed=1) != space.sample(5, seed=2)
    drawn = space.index(space.sample(3000, seed=0))
    for column, size in zip(drawn.T, space.sizes):
        counts = np.bincount(column, minlength=size)
        expected = 3000 / size
        assert (np.abs(counts - expected) < 6 * np.sqrt(expected)).all()


def test_sampling_inside_a_range_gives_distinct_architectures_of_that_range() -> None:
    space = load_space("two_stream")
    archs = space.sample(16, seed=0, macs=(2.4e9, 2.5e9))
    assert len({arch.hash for arch in archs}) == 16
    assert all(2.4e9 <= arch.macs() <= 2.5e9 for arch in archs)
    with pytest.raises(CostRangeError, match="reachable"):
        space.sample(1, macs=(1, 2))


def test_a_hash_depends_on_the_network_alone_and_survives_a_file(tmp_path: Path) -> None:
    first, second = load_space("tiny").sample(2, seed=0)
    first.save(tmp_path / "a.yaml")
    read = load_architecture(tmp_path / "a.yaml")
    assert read == first
    assert read.hash == first.hash != second.hash
    shuffled = Architecture(first.space, first.network, first.reference, dict(reversed(first.choices.items())))
    assert shuffled.hash == first.hash


def test_a_hash_never_changes() -> None:
    """What people have written down must still mean the same."""
    assert load_space("tiny").sample(1, seed=0)[0].hash == "3006e85ff9ae"


def test_a_file_builds_without_its_space(tmp_path: Path) -> None:
    text = (autovid.load_space("tiny").text).replace("name: tiny", "name: mine")
    (tmp_path / "mine.yaml").write_text(text)
    arch = load_space(tmp_path / "mine.yaml").sample(1, seed=4)[0]
    arch.save(tmp_path / "arch.yaml")
    (tmp_path / "mine.yaml").unlink()
    net = autovid.build(tmp_path / "arch.yaml", classes=5)
    assert net.eval()(torch.zeros(1, 3, 16, 32, 32)).shape == (1, 5)
    assert autovid.count(net).macs == load_space("tiny").cost_table(classes=5).macs([arch])[0]


def test_an_edited_file_is_refused_until_its_hash_is_deleted(tmp_path: Path) -> None:
    arch = load_space("tiny").sample(1, seed=0)[0]
    name = next(iter(arch.choices))
    other = next(c for c in load_space("tiny").candidates[name] if c != arch.choices[name])
    text = arch.to_yaml().replace(f"{name}: {arch.choices[name]}", f"{name}: {other}")
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="delete hash"):
        load_architecture(file)
    file.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("hash:")))
    assert load_architecture(file).choices[name] == other


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("sparse.stage1.width", "abc", "whole number"),
        ("sparse.stage1.width", "7.5", "whole number"),
        ("sparse.stage1.width", "16.0", "whole number"),
        ("sparse.stage1.width", "-8", ">= 4"),
        ("sparse.stage1.width", "0", ">= 4"),
        ("dense.stage2.block1.temporal_kernel", "2", "odd"),
        ("dense.stage2.block1.temporal_kernel", "3.0", "whole number"),
        ("dense.stage2.block1.temporal_kernel", "17", "<= 15"),
        ("dense.stage2.block1.spatial_kernel", "4", "odd"),
        ("sparse.stage2.block2.expansion", "big", "a number"),
        ("sparse.stage2.block2.expansion", "-1", ">= 0.25"),
        ("sparse.stage2.block2.expansion", "1e30", "<= 32"),
        ("fusion.stem", "glue", "strided_conv"),
        ("attention.stage1", "full", "glore"),
        ("attention.stage1", "3", "glore"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_by_file_line_and_key(
    name: str, value: str, says: str, tmp_path: Path
) -> None:
    lines = load_space("tiny").sample(1, seed=0)[0].to_yaml().splitlines()
    (number,) = (n for n, line in enumerate(lines) if line.startswith(f"  {name}: "))
    lines[number] = f"  {name}: {value}"
    file = tmp_path / "a.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(ConfigError) as caught:
        load_architecture(file)
    assert str(caught.value).startswith(f"{file}:{number + 1}: choices.")
    assert name in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        ({"crop": 9}, "reference.crop"),
        ({"crop": 2000}, "reference.crop"),
        ({"frames": 18}, "multiple"),
        ({"depth_factor": 1000.0}, "depth_factor"),
        ({"depth_factor": 90.0}, "blocks"),
        ({"depth_factor": 1e300}, "depth_factor"),
        ({"depth_factor": -1.0}, "depth_factor"),
        ({"stride": 0}, "reference.stride"),
    ],
)
def test_what_a_file_would_not_be_read_with_is_not_scaled_to(scale: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_space("tiny").sample(1, seed=0)[0].scaled(**scale)


def test_mistakes_in_calls_are_errors_for_people(tmp_path: Path) -> None:
    space = load_space("tiny")
    arch = space.sample(1)[0]
    calls: dict[str, Callable[[], object]] = {
        "seed": lambda: space.sample(2, seed=-1),
        "-1 architectures": lambda: space.sample(-1),
        "macs": lambda: space.sample(1, macs=(7.5e6, float("inf"))),
        "nan": lambda: space.sample(1, macs=(float("nan"), 8e6)),
        "two finite numbers": lambda: space.sample(1, macs=(7.5e6,)),  # type: ignore[arg-type]
        "above its end": lambda: space.sample(1, macs=(8e6, 7.5e6)),
        "crop": lambda: space.cost_table(crop=-5),
        "frames": lambda: space.cost_table(frames=0),
        "multiple": lambda: space.cost_table(frames=18),
        "-3 classes": lambda: autovid.build(arch, classes=-3),
        "0 classes": lambda: autovid.build(space, classes=0),
        "cannot write": lambda: arch.save("/proc/x/a.yaml"),
        "a.yaml": lambda: arch.save(tmp_path / "file" / "a.yaml"),
    }
    (tmp_path / "file").write_text("in the way")
    for says, call in calls.items():
        with pytest.raises(AutovidError, match=says):
            call()


def test_a_search_takes_no_smaller_clips_than_a_space_may_say() -> None:
    space = load_space("tiny")
    with pytest.raises(ConfigError, match="crop 15: at least 16"):
        settings_for(space, proxy=True, videos=10, crop=15)
    assert settings_for(space, proxy=True, videos=10, crop=16).crop == 16


def test_a_file_is_saved_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = load_space("tiny").sample(2, seed=0)
    first.save(tmp_path / "a.yaml")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(AutovidError, match="No space left"):
        second.save(tmp_path / "a.yaml")
    assert load_architecture(tmp_path / "a.yaml") == first
    assert [p.name for p in tmp_path.iterdir()] == ["a.yaml"]


def test_costs_beyond_counting_are_refused(tmp_path: Path) -> None:
    text = load_space("x3d").text
    changes = {"frames: 13": "frames: 4096", "crop: 160": "crop: 1024", "[182, 228]": "[1024, 1100]"}
    changes |= {"[16, 24, 32]": "[4096]", "[1.5, 2.25, 3, 4]": "[32]", "[{depth: 1}": "[{depth: 1, stride: 1}"}
    for old, new in changes.items():
        text = text.replace(old, new)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match="MACs"):
        load_space(tmp_path / "a.yaml").cost_table()


def test_what_is_not_of_a_space_is_refused() -> None:
    tiny, other = load_space("tiny"), load_space("x3d")
    with pytest.raises(ConfigError, match="is not of space tiny"):
        tiny.index(other.sample(1))
    with pytest.raises(ConfigError, match="is not one of"):
        tiny.fix({tiny.decisions[0].name: 99})


def test_scaling_repeats_choices_in_proportion() -> None:
    arch = load_space("two_stream").sample(1, seed=0)[0]
    deep = arch.scaled(crop=312, depth_factor=5.0)
    assert deep.reference.crop == 312
    for name, value in arch.choices.items():
        if ".block" not in name:
            assert deep.choices[name] == value
    assert arch.scaled(depth_factor=arch.network.depth_factor).choices == arch.choices
    depth = {
        n: max(int(k.split("block")[1].split(".")[0]) for k in a.choices if k.startswith("sparse.stage3.block"))
        for n, a in (("m", arch), ("l", deep))
    }
    assert depth == {"m": 11, "l": 25}


@pytest.mark.parametrize(
    ("new", "old"),
    [("frame_stride: 4", "every: 4"), ("cost_fraction: 0.85", "share: 0.85"), ("provenance:", "found:")],
)
def test_a_key_of_before_is_refused_by_its_new_name(new: str, old: str, tmp_path: Path) -> None:
    says = rf"yaml:\d+: .*this key is called {new.split(':')[0]} now"
    if new in (text := load_space("tiny").text):
        (tmp_path / "a.yaml").write_text(text.replace(new, old))
        with pytest.raises(ConfigError, match=says):
            load_space(tmp_path / "a.yaml")
    text = load_space("tiny").sample(1)[0].to_yaml()
    (tmp_path / "b.yaml").write_text(text.replace(new, old))
    if new in text:
        with pytest.raises(ConfigError, match=says):
            load_architecture(tmp_path / "b.yaml")
