"""The names of commands."""

import pytest

from autovid.cli import main


@pytest.mark.parametrize(
    ("typed", "meant"), [("serach", "search"), ("trian", "train"), ("randombaseline", "random-baseline")]
)
def test_a_misspelt_command_is_told_the_right_one(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main([typed, "--space", "tiny"])
    assert exit.value.code == 2
    assert f"there is no command {typed!r}; did you mean {meant}" in capsys.readouterr().err
