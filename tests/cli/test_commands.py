"""The names of commands."""

import argparse
import importlib
import shlex

import pytest

from autovid.cli import COMMANDS, EXAMPLES, _parser, main
from autovid.cli.launch import Terminated

list_command = importlib.import_module("autovid.cli.list")


@pytest.mark.parametrize(
    ("typed", "meant"), [("serach", "search"), ("trian", "train"), ("randombaseline", "random-baseline")]
)
def test_a_misspelt_command_is_told_the_right_one(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main([typed, "--space", "tiny"])
    assert exit.value.code == 2
    assert f"there is no command {typed!r}; did you mean {meant}" in capsys.readouterr().err


def test_a_misspelt_word_of_a_few_is_told_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    for words, meant in (("chek x", "check"), ("synthetic gesture-new -o x", "gestures-new")):
        with pytest.raises(SystemExit):
            main(["data", *words.split()])
        assert f"; did you mean {meant}" in capsys.readouterr().err


def test_every_command_has_examples_that_its_parser_takes() -> None:
    assert EXAMPLES.keys() == COMMANDS.keys()
    for name, lines in EXAMPLES.items():
        for line in lines:
            program, *words = shlex.split(line)
            assert (program, words[0]) == ("autovid", name)
            _parser(name).parse_args(words)


@pytest.mark.parametrize("name", ["search", "train", "rank"])
def test_the_help_of_a_recipe_says_its_defaults(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for option in ("epochs", "batch", "lr", "frames", "crop", "stride", "seed"):
        text = said.partition("examples:")[0].rpartition(f" --{option} ")[2].partition(" --")[0]
        assert "default" in text, option
    assert f"examples: autovid {name} " in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("search --spce tiny", "autovid search: unrecognized arguments: --spce; did you mean --space"),
        ("search --plugi blocks.py", "autovid search: unrecognized arguments: --plugi; did you mean --plugin"),
        (
            "data check my.csv --bad",
            "autovid data check: unrecognized arguments: --bad (see autovid data check --help)",
        ),
        (
            "predict exported clip.mp4 -o x",
            "autovid predict: unrecognized arguments: -o x (see autovid predict --help)",
        ),
    ],
)
def test_an_unknown_option_is_told_in_the_name_of_its_command(
    words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(says)


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_command_that_is_stopped_before_it_began_says_so(
    stop: type[KeyboardInterrupt], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(args: argparse.Namespace) -> int:
        raise stop

    monkeypatch.setattr(list_command, "run", interrupted)
    assert main(["list", "models"]) == code
    assert capsys.readouterr().err == "autovid list: stopped\n"
