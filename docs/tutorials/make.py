"""Makes the tutorials: runs each command of their pages as a reader does, and writes down what it printed.

    python docs/tutorials/make.py [--folder DIR] [PAGE ...]

A page is its own source, in which the script replaces three things: what stands below each command of a `console`
block; between `<!-- times -->` and `<!-- end -->` how long each command took, and on which machine; and the picture
whose file `<!-- picture: FILE -->` names above its link. `hour.ipynb` is the page `hour.md` as a notebook.

DIR gets a folder for each page, in which its commands run one after the other. A command that has ended is not run
again: DIR/PAGE.json has what it printed. One that was stopped goes on. If the text of a command changes, it is run
again, and so is all behind it; remove the folder to begin anew. Without --folder nothing is run: where only the text of
a page has changed, its notebook is written anew.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "docs"))

from blocks import Block, blocks  # noqa: E402

PAGES = ("hour", "latency")
NOTEBOOKS = ("hour",)
COLUMNS = 100
ALIKE = 4  # lines in a row that differ only in figures; of more, the first and the last are shown
PLACE = "/home/you/tutorial"  # stands for the folder in what is printed
TIMES = re.compile(r"(?<=<!-- times -->\n).*?(?=<!-- end -->)", re.DOTALL)
PICTURE = re.compile(r"<!-- picture: (\S+) -->\n!\[[^\]]*\]\(([^)]+)\)")
STEP = re.compile(r"(.*?)step \d+/\d+ · ")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Done(NamedTuple):
    """A command that has ended: what it printed, and how many seconds it took."""

    command: str
    output: str
    seconds: float


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is left of the pages' commands, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, metavar="DIR")
    parser.add_argument("pages", nargs="*", metavar="PAGE", default=PAGES)
    args = parser.parse_args(argv)
    for name in args.pages:
        page = HERE / f"{name}.md"
        if args.folder:
            make(page, args.folder.resolve(), machine())
        if name in NOTEBOOKS:
            page.with_suffix(".ipynb").write_text(notebook(page), encoding="utf-8")


def make(page: Path, folder: Path, machine: str) -> None:
    """Run what is left of a page, and write it with its pictures."""
    work = folder / page.stem
    work.mkdir(parents=True, exist_ok=True)
    done = run_all(page, work, folder / f"{page.stem}.json")
    text = with_outputs(page, iter(done), work)
    text = TIMES.sub(lambda _: times(done, machine), text)
    for file, name in PICTURE.findall(text):
        shutil.copyfile(work / file, page.parent / name)
    page.write_text(text, encoding="utf-8")


def is_run(block: Block) -> bool:
    """Return True for a block of commands that the script runs."""
    return block.language == "console" and not block.mark("not run")


def run_all(page: Path, work: Path, journal: Path) -> list[Done]:
    """Run the commands of a page that have not been run, and return what all have printed."""
    known = [Done(*entry) for entry in json.loads(journal.read_text())] if journal.exists() else []
    done: list[Done] = []
    for block in blocks(page):
        for name in block.mark("file"):
            (work / name).write_text(block.text, encoding="utf-8")
        for command in block.commands if is_run(block) else ():
            number = len(done)
            if number < len(known) and known[number].command == command:
                done.append(known[number])
                continue
            known = []
            done.append(run(command, work))
            journal.write_text(json.dumps(done, indent=1))
    return done


def run(command: str, work: Path) -> Done:
    """Run a command as a reader does, on with a run that was stopped. Exits where it fails."""
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "dumb"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    log = work / ".stopped"  # what a command printed, and how long it took, until it was stopped
    before = Done(*json.loads(log.read_text())) if log.exists() else Done(command, "", 0.0)
    before = before if before.command == command else Done(command, "", 0.0)
    print(f"$ {command}", flush=True)
    begun, lines = time.monotonic(), []
    words = command + " --resume" * bool(before.seconds and re.search(r" -o runs/", command))
    process = subprocess.Popen(
        ["bash", "-ec", words], cwd=work, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    for data in process.stdout or ():
        lines.append(data.decode(errors="replace"))
        print(lines[-1], end="", flush=True)
        seconds = before.seconds + time.monotonic() - begun
        log.write_text(json.dumps(Done(command, before.output + "".join(lines), seconds)))
    if process.wait():
        sys.exit(f"exit code {process.returncode}: {words}")
    log.unlink(missing_ok=True)
    return Done(command, before.output + "".join(lines), before.seconds + time.monotonic() - begun)


def with_outputs(page: Path, done: Iterator[Done], work: Path) -> str:
    """Return the text of a page with what its commands have printed."""
    lines = page.read_text(encoding="utf-8").splitlines()
    written, end = [], 0
    for block in filter(is_run, blocks(page)):
        written += lines[end : block.line]
        end = block.line + block.text.count("\n")
        command = False
        for line in lines[block.line : end]:
            command = line.startswith("$ ") or command  # also its next line, where this one ends in a backslash
            written += [line] * command
            if command and not line.endswith("\\"):
                written += shown(next(done).output, work)
                command = False
    return "\n".join([*written, *lines[end:]]) + "\n"


def shown(output: str, work: Path) -> list[str]:
    """Return the lines of an output that a reader needs: of progress the last, of many alike the first and the last."""
    text = ESCAPES.sub("", output).replace(str(work), PLACE)
    lines = [line.rstrip().rpartition("\r")[2].rstrip() for line in text.split("\n")[:-1]]
    last = {step[1]: number for number, line in enumerate(lines) if (step := STEP.match(line))}
    kept = [line for number, line in enumerate(lines) if not (step := STEP.match(line)) or last[step[1]] == number]
    result: list[str] = []
    for _, group in groupby(kept, key=lambda line: re.sub(r"[\d.]+", "0", line)):
        alike = [*group]
        result += alike if len(alike) <= ALIKE else [*alike[:1], "...", *alike[-1:]]
    return result


def times(done: Sequence[Done], machine: str) -> str:
    """Return a table of how long each command took, and the machine."""
    rows = [f"| `{one.command}` | {clock(one.seconds)} |" for one in done]
    total = sum(one.seconds for one in done)
    head = [f"| On {machine} | Minutes |", "|---|---:|"]
    return "\n".join([*head, *rows, f"| together | {clock(total)} |", ""])


def clock(seconds: float) -> str:
    """Write "5:07"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def machine() -> str:
    """Return the machine's name, as every figure of the documentation has it."""
    from autovid.measure import hardware

    return hardware()


def notebook(page: Path) -> str:
    """Return a page as a Jupyter notebook: a cell for each block, with what it printed, and the text between them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    cells: list[dict[str, object]] = []
    end = 0
    for block in blocks(page):
        if not (is_run(block) or block.mark("file")):
            continue
        cells += markdown(lines[end : block.line - 1])
        end = block.line + block.text.count("\n") + 1
        cells.append(code(block, sum(cell["cell_type"] == "code" for cell in cells) + 1))
    cells += markdown(lines[end:])
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def markdown(lines: Sequence[str]) -> list[dict[str, object]]:
    """Return a cell of text, without comments; none where there is no text."""
    text = re.sub(r"<!--.*?-->\n?", "", "\n".join(lines), flags=re.DOTALL).strip()
    return [{"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}] if text else []


def code(block: Block, number: int) -> dict[str, object]:
    """Return a cell of code: commands as IPython takes them, or a file; what a test needs is in its metadata."""
    printed = [line + "\n" for line in block.text.splitlines() if not line.startswith("$ ")]
    source = [f"!{command}\n" for command in block.commands]
    if name := next(iter(block.mark("file")), None):
        source, printed = [f"%%writefile {name}\n", *block.text.splitlines(keepends=True)], []
    outputs: list[Mapping[str, object]] = [{"name": "stdout", "output_type": "stream", "text": printed}]
    return {
        "cell_type": "code",
        "execution_count": number,
        "metadata": {"marks": [mark for mark in block.marks if mark[0] != "file"]},
        "outputs": outputs if printed else [],
        "source": source,
    }


if __name__ == "__main__":
    main()
