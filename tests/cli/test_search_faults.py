"""What goes wrong before a search costs one clear line and the right exit code, and loses nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from autovid.cli import main
from autovid.config.resources import search_spaces_dir

TINY = (search_spaces_dir() / "tiny.yaml").read_text(encoding="utf-8")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("head_width: 64", "head_widht: 64", "head_widht", "head_width"),
        ("head_width: 64", "head_width: wide", "head_width", "wide"),
        ("head_width: 64", "head_width: 64\n  head_width: 65", "head_width", "head_width"),
        ("name: tiny", "name: !!python/object:os.system tiny", "name", "tag"),
        ("keys: 4", "keys: " + "[" * 100_000 + "]" * 100_000, "levels", "nested"),
        ("after: [stem, stage1, stage2]", "after: [stem, stage7]", "fusion.after", "stage7"),
        ("fusion: [skip, strided_conv", "fusion: [skip, glue", "fusion", "glue"),
        ("cost_fraction: 0.85", "cost_fraction: 0.4", "cost_fraction", "cumulative"),
        ("search: [attention.*]", "search: [attention.stage9]", "search", "stage9"),
        ("spatial_kernel: [3, 5]", "spatial_kernel: [3, 4]", "spatial_kernel", "odd"),
        (
            "frames: 16, stride: 2, crop: 32, classes",
            "frames: 18, stride: 2, crop: 32, classes",
            "frame_stride",
            "multiple",
        ),
        ("name: tiny", "name: ''", "name", "letters"),
        ("name: tiny", "name: ../../evil", "name", "evil"),
        ("stem: {width: 16", "stem: {width: 1000000000000", "stem.width", "4096"),
        ("stem: {width: 16, temporal_kernel: 3", "stem: {width: 16, temporal_kernel: 4", "temporal_kernel", "odd"),
        ("stage2], kernel: 5", "stage2], kernel: 4", "fusion.kernel", "odd"),
        ("expansion: [1.5, 2.25, 3]", "expansion: [1e30]", "expansion", "32"),
        ("expansion: [1.5, 2.25, 3]", "expansion: [0.001]", "expansion", "0.25"),
        ("streams: [sparse], search", "streams: [], search", "parts[0].streams", "a part needs a stream"),
        ("streams: [sparse], search", "streams: [sparse, sparse], search", "parts[0].streams[1]", "twice"),
        ("name: dense, streams", "name: sparse, streams", "parts[1].name", "twice"),
        ("name: dense, streams: [sparse, dense]", "name: dense, streams: [sparse]", "search[0]", "dense.stage1.width"),
        ("cost_fraction: 1,", "cost_fraction: 0.9,", "parts[2].cost_fraction", "whole"),
        ("momentum: 0.9", "momentum: -5", "recipe.momentum", ">= 0"),
        ("weight_decay: 5e-5", "weight_decay: -5", "recipe.weight_decay", ">= 0"),
        ("recipe: {batch: 8, jitter: [32, 40]", "recipe: {batch: 8, jitter: [40, 32]", "recipe.jitter", "rise"),
        ("recipe: {batch: 8, jitter: [32, 40]", "recipe: {batch: 8, jitter: [30, 40]", "recipe.jitter", "crop, 32"),
        ("  batch: 16\n  jitter: [32, 40]", "  batch: 16\n  jitter: [40, 32]", "proxy.jitter", "rise"),
        ("  batch: 16\n  jitter: [32, 40]", "  batch: 16\n  jitter: [30, 40]", "proxy.jitter", "crop, 32"),
        ("proxy:\n  frames: 16", "proxy:\n  frames: 18", "proxy.frames", "sparse's frame_stride, 4"),
        ("    dense: {steps", "    dance: {steps", "proxy.parts", "dense is missing"),
        ("    dense: {steps", "    more: {steps: 1, lr: 1, arch_lr: 1}\n    dense: {steps", "parts.more", "no part"),
    ],
)
def test_a_mistake_in_a_space_is_named_with_file_line_and_key(
    old: str, new: str, line: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in TINY
    file = tmp_path / "mine.yaml"
    file.write_text(TINY.replace(old, new, 1), encoding="utf-8")
    out = tmp_path / "run"
    assert main(["search", "--space", str(file), "--flops", "0.0075:0.008", "-o", str(out)]) == 2
    text = one_line(capsys)
    assert f"{file}:" in text
    assert line.split(".")[-1] in text
    assert says in text
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--flops", "9:10"], 3, "0.0243"),
        (["--flops", "0.0001:0.0002"], 3, "GFLOPs"),
        (["--flops", "2:1"], 2, "reversed"),
        (["--flops", "stem=1:2"], 2, "no part is called stem"),
        (["--flops", "0.0075:0.008,attention=0.01:0.011"], 2, "the whole network's"),
        (["--flops", "sparse=0.003:0.004,sparse=0.002:0.003"], 2, "two ranges for part sparse"),
        (["--data", "no/such/folder"], 4, "no/such/folder"),
        (["--space", "tiyn"], 2, "tiny"),
        (["--frames", "18"], 2, "multiple"),
        (["--resume", "-o", "no/such/run"], 5, "no/such/run"),
    ],
)
def test_a_wrong_argument_is_one_line_and_its_code(
    arguments: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_videos: Path
) -> None:
    command = ["search", "--space", "tiny", "--data", str(tiny_videos), "-o", str(tmp_path / "run"), *arguments]
    assert main(command) == code
    assert says in one_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_directory_that_is_no_run_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_videos: Path
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    assert main(["search", "--space", "tiny", "--data", str(tiny_videos), "-o", str(tmp_path)]) == 5
    assert "not a run directory" in one_line(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    code = "import sys, autovid.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy', 'av', 'yaml'} & set(sys.modules), set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
