"""What targets of the Makefile run of the tests: nothing that is not there, and every long test by one of them."""

from pathlib import Path

import machines
import versions

ROOT = Path(__file__).resolve().parents[1]
MARK = "pytest.mark." + "thorough"  # this file has none


def test_what_is_tried_with_other_versions_is_there() -> None:
    assert not [name for name in versions.TESTS if not (ROOT / "tests" / name).exists()]
    assert not [test for test in machines.QUICK if not (ROOT / test.split("::")[0]).exists()]


def test_slow_tests_are_run_by_the_check_of_every_change() -> None:
    check = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck:")[2].partition("\n\n")[0]
    assert f'-m "{machines.CHECKED[1]}"' in check
    assert "slow" not in machines.CHECKED[1]


def test_every_long_test_is_under_what_is_run_as_other_machines_do() -> None:
    mark, chosen, *folders = machines.TESTS
    assert (mark, chosen) == ("-m", "not docs or thorough")
    long = [path for path in ROOT.glob("tests/**/test_*.py") if MARK in path.read_text(encoding="utf-8")]
    assert len(long) > 20
    assert not [path for path in long if not any(path.is_relative_to(ROOT / folder) for folder in folders)]
