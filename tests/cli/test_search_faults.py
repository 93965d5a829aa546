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
        ("share: 0.85", "share: 0.4", "share", "cumulative"),
        ("search: [attention.*]", "search: [attention.stage9]", "search", "stage9"),
        ("spatial_kernel: [3, 5]", "spatial_kernel: [3, 4]", "spatial_kernel", "odd"),
        ("frames: 16, stride: 2, crop: 32, classes", "frames: 18, stride: 2, crop: 32, classes", "every", "multiple"),
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


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--flops", "9:10"], 3, "0.0243"),
        (["--flops", "0.0001:0.0002"], 3, "GFLOPs"),
        (["--flops", "2:1"], 2, "reversed"),
        (["--flops", "stem=1:2"], 2, "no part is called stem"),
        (["--data", "no/such/folder"], 4, "no/such/folder"),
        (["--space", "tiyn"], 2, "tiny"),
        (["--frames", "18"], 2, "multiple"),
        (["--resume", "-o", "no/such/run"], 5, "no/such/run"),
    ],
)
def test_a_wrong_argument_is_one_line_and_its_code(
    arguments: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_videos: Path
) -> None:
    given = ["search", "--space", "tiny", "--data", str(tiny_videos), "-o", str(tmp_path / "run"), *arguments]
    assert main(given) == code
    assert says in one_line(capsys)
    assert not (tmp_path / "run").exists()


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
