"""Every command of the documentation, run page by page on small videos (`make test-docs`).

A page has a folder of its own, with a data set `my_videos` and three videos in it; its blocks are run in order.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blocks import CODE, PAGES, ROOT, Block, blocks

from autovid.cli import main

# What makes a command small; a later value of a flag replaces an earlier one. Without --data, `my_videos` is the data.
SMALL = {
    "search": "--recipe proxy --steps 2 --samples 2 --batch 2 --decoders 1",
    "train": "--recipe proxy --epochs 1 --batch 4 --decoders 1",
    "random-baseline": "-n 2 --recipe proxy --epochs 1 --batch 4 --decoders 1",
    "rank": "-n 3 --recipe proxy --epochs 1 --batch 4 --decoders 1",
    "compare": "--recipe proxy --epochs 1 --batch 4 --decoders 1",
    "sweep": "--recipe proxy --epochs 1 --batch 4 --decoders 1",
    "bench": "--repeats 2 --largest-batch 0",
    "latency-table": "--repeats 1",
}
DATA = ("search", "train", "random-baseline", "rank", "compare", "sweep")
SHELL = set("|&;<>$`*?(){}~")  # what only a shell understands

pytestmark = pytest.mark.docs


def run_block(block: Block, cwd: Path) -> None:
    """Runs a block as its marks say."""
    for command in block.mark("before"):
        shell(command, cwd)
    for name in block.mark("file"):
        (cwd / name).parent.mkdir(parents=True, exist_ok=True)
        (cwd / name).write_text(block.text, encoding="utf-8")
    if block.language not in CODE or block.mark("not run") or block.mark("file"):
        return
    text = block.text
    for pair in block.mark("instead"):
        old, new = pair.split(" => ")
        assert old in text, f"{block}: nothing to replace for {old!r}"
        text = text.replace(old, new)
    block = block._replace(text=text)
    if block.language == "python":
        exec(compile(text, str(block), "exec"), {"__name__": "__main__"})
        return
    *first, last = block.commands
    expected = int(next(iter(block.mark("exit")), "0"))
    for command, code in [*((one, 0) for one in first), (last, expected)]:
        shortened = command if block.mark("as written") else small(command)
        assert run_command(shortened, cwd) == code, f"{block}: {shortened}"


def small(command: str) -> str:
    """The command with what makes it small."""
    words = command.split(" #")[0].split()
    if words[:1] != ["autovid"] or "--dry-run" in words or not words[1:] or words[1] not in SMALL:
        return command
    if any(word.startswith("table:") for word in words):  # nothing is trained
        return command
    data = "--data my_videos" if words[1] in DATA and "--data" not in words else ""
    flags = SMALL[words[1]]
    if "--strategy" in words:  # samples are PARSEC's
        flags = flags.replace("--samples 2 ", "")
    if {"small", "finetune"} & set(words):
        flags = flags.replace("--recipe proxy", "--frames 8 --crop 32 --stride 1")
    return " ".join([command.split(" #")[0].rstrip(), flags, data])


def run_command(command: str, cwd: Path) -> int:
    """The exit code. Plain autovid commands run in this process, which has loaded torch already."""
    import shlex

    words = shlex.split(command, comments=True)
    if words[0] != "autovid" or set(command.split(" #")[0]) & SHELL or words[1] == "sweep" or "--workers" in words:
        return shell(command, cwd)
    try:
        return main(words[1:])
    except SystemExit as stop:
        return int(stop.code or 0)


def shell(command: str, cwd: Path) -> int:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", command], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, timeout=600)
    return done.returncode


def is_run(page: Path) -> bool:
    """Return True for a page with commands. One that is a notebook as well is run as that (test_tutorials.py)."""
    return any(block.language in CODE for block in blocks(page)) and not page.with_suffix(".ipynb").exists()


@pytest.mark.parametrize("page", [*filter(is_run, PAGES)], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs_from_top_to_bottom(
    page: Path, tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_videos, tmp_path / "my_videos")
    videos = sorted((tiny_videos / "val").rglob("*.mp4"))
    for name, video in zip(("a.mp4", "b.mp4", "long.mp4"), videos, strict=False):
        shutil.copy(video, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        run_block(block, tmp_path)
