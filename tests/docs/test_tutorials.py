"""The tutorials: the script that makes them, that their text agrees with their outputs, and that the notebook runs."""

import json
import re
import sys
from pathlib import Path

import pytest
from blocks import ROOT, Block, blocks
from test_commands_of_pages import run_block

sys.path.insert(0, str(ROOT / "docs" / "tutorials"))
import make

TUTORIALS = [make.HERE / f"{name}.md" for name in make.PAGES]
PAGE = """# A page

<!-- file: greeting.txt -->
```text
hello
```

```console
$ cat greeting.txt; echo once >> ran
old
$ echo in \\
  two lines; pwd
```

<!-- not run: it fails -->
```console
$ false
kept
```

<!-- times -->
old
<!-- end -->

<!-- picture: ran -->
![a picture](page-ran.png)
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_a_page_gets_what_its_commands_print(page: Path, tmp_path: Path) -> None:
    make.make(page, tmp_path / "work", "a machine")
    text = page.read_text()
    assert "$ cat greeting.txt; echo once >> ran\nhello\n$ echo in \\\n  two lines; pwd\nin two lines\n" in text
    assert f"\n{make.PLACE}\n```\n" in text  # nobody's own folder
    assert "$ false\nkept\n" in text
    assert "old" not in text
    assert "| On a machine | Minutes |" in text
    assert "| `echo in two lines; pwd` | 0:00 |" in text
    assert (tmp_path / "page-ran.png").read_text() == "once\n"


def test_a_command_runs_once_unless_its_page_changes(page: Path, tmp_path: Path) -> None:
    make.make(page, tmp_path / "work", "")
    first = page.read_text()
    make.make(page, tmp_path / "work", "")
    assert page.read_text() == first
    ran = tmp_path / "work" / "page" / "ran"
    assert ran.read_text() == "once\n"
    page.write_text(first.replace("echo once", "echo twice"))
    make.make(page, tmp_path / "work", "")
    assert ran.read_text() == "once\ntwice\n"


def test_a_command_that_fails_ends_the_script_and_is_run_again(page: Path, tmp_path: Path) -> None:
    page.write_text(PAGE.replace("pwd", "test -e mended"))
    with pytest.raises(SystemExit, match="exit code 1: echo in two lines; test -e mended"):
        make.make(page, tmp_path, "")
    (tmp_path / "page" / "mended").touch()
    make.make(page, tmp_path, "")
    assert (tmp_path / "page" / "ran").read_text() == "once\n"


def test_of_progress_a_reader_sees_the_last_line_and_of_many_alike_the_ends(tmp_path: Path) -> None:
    steps = [f"train x · step {n}/90 · {n} % · 1:00 left · loss 2.{n}" for n in range(9)]
    output = "\n".join(
        [
            *steps[:4],
            "a note",
            *steps[4:],
            "\x1b[1mdone\x1b[0m",
            *(f"epoch {n} of 9: {n}.5 %" for n in range(9)),
            "1\r2\rend\n",
        ]
    )
    assert make.shown(output, tmp_path) == [
        "a note", steps[-1], "done", "epoch 0 of 9: 0.5 %", "...", "epoch 8 of 9: 8.5 %", "end"
    ]  # fmt: skip


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_figures_of_the_text_are_those_of_its_outputs(page: Path) -> None:
    """Each percentage, time and GFLOPs with a decimal point that the text names has been printed, on this page."""
    text = page.read_text(encoding="utf-8")
    printed = set(re.findall(r"\d+\.\d+", "".join(block.text for block in blocks(page))))
    prose = re.sub(r"^```.*?^```$|<!-- times -->.*?<!-- end -->|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    told = set(re.findall(r"\d+\.\d+", prose))
    assert printed
    assert told <= printed
    assert all((page.parent / name).is_file() for _, name in make.PICTURE.findall(text))
    assert make.TIMES.search(text)


@pytest.mark.parametrize("name", make.NOTEBOOKS)
def test_a_notebook_is_its_page(name: str) -> None:
    page = make.HERE / f"{name}.md"
    assert page.with_suffix(".ipynb").read_text(encoding="utf-8") == make.notebook(page)


@pytest.mark.docs
@pytest.mark.parametrize("name", make.NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small settings, in an empty folder, as test_commands_of_pages.py runs pages."""
    monkeypatch.chdir(tmp_path)
    content = json.loads((make.HERE / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert (content["nbformat"], content["metadata"]["kernelspec"]["language"]) == (4, "python")
    cells = [block for cell in content["cells"] for block in block_of(cell)]
    assert len(cells) > 5
    for cell in cells:
        run_block(cell, tmp_path)


def block_of(cell: dict) -> list[Block]:
    """A cell as a block: lines behind `!` are commands, a cell with %%writefile is a file."""
    if cell["cell_type"] != "code":
        return []
    first, *rest = cell["source"]
    marks = tuple((key, value) for key, value in cell["metadata"]["marks"])
    page = make.HERE / "notebook"
    if written := re.fullmatch(r"%%writefile (\S+)\n", first):
        return [Block(page, 0, "python", "".join(rest), (*marks, ("file", written[1])))]
    assert all(line.startswith("!") for line in cell["source"])
    return [Block(page, 0, "console", "".join(f"$ {line[1:]}" for line in cell["source"]), marks)]
