"""The tests as other machines would run them: kernels of older processors, and other numbers of threads.

    python tests/machines.py            all of them, the long ones too, in every setting (make test-machines)
    python tests/machines.py --quick    a few of them, in a few minutes (a part of .ci/run)
    python tests/machines.py --all      all but the long ones, in every setting, a quarter of an hour each
    python tests/machines.py --only ONEDNN_MAX_CPU_ISA=AVX2 AUTOVID_TEST_THREADS=8    these settings alone

Prints a line for each setting as it ends: passed or failed, and how long it took; where a test fails, what it says.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What oneDNN, torch and MKL may use of a processor, and how many threads the tests have (tests/conftest.py; default 1).
SETTINGS = (
    "",
    "ONEDNN_MAX_CPU_ISA=AVX2",
    "ONEDNN_MAX_CPU_ISA=SSE41",
    "ATEN_CPU_CAPABILITY=avx2",
    "ATEN_CPU_CAPABILITY=default",
    "MKL_ENABLE_INSTRUCTIONS=AVX2",
    "AUTOVID_TEST_THREADS=2",
    "AUTOVID_TEST_THREADS=8",
)
PYTEST = (sys.executable, "-m", "pytest", "-q", "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
TESTS = ("-m", "not docs or thorough", "tests")
CHECKED = ("-m", "not thorough and not docs")  # the tests of `make check`
BUILDER = "tests/models/test_builder.py::test_"
# Equality of supernet and frozen network, forward and backward; our kernels beside torch's; two workers beside one.
QUICK = (
    f"{BUILDER}supernet_routed_to_an_architecture_equals_its_frozen_network",
    f"{BUILDER}gradients_and_statistics_of_the_supernet_are_those_of_the_frozen_network",
    "tests/kernels/test_depthwise.py",
    "tests/search/test_search_on_two_workers.py::test_two_workers_do_the_same_step_as_one",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few tests")
    parser.add_argument("--all", action="store_true", help="all but the long ones")
    parser.add_argument("--only", nargs="+", metavar="NAME=VALUE", default=SETTINGS, help="these settings alone")
    options = parser.parse_args()
    tests = (*CHECKED, *QUICK) if options.quick else (*CHECKED, "tests") if options.all else TESTS
    failed = [setting for setting in options.only if not passes(setting, tests)]
    return 1 if failed else 0


def passes(setting: str, tests: tuple[str, ...]) -> bool:
    """Whether the tests pass with an environment variable set, `NAME=VALUE`, or none."""
    environment = dict(os.environ)
    if setting:
        name, _, value = setting.partition("=")
        environment[name] = value
        environment["OMP_WAIT_POLICY"] = "PASSIVE"  # more threads than cores must not wait by spinning
    start = time.monotonic()
    run = subprocess.run([*PYTEST, *tests], cwd=ROOT, env=environment, capture_output=True, text=True)
    outcome, seconds = ["no output", *run.stdout.strip().splitlines()][-1], time.monotonic() - start
    print(f"{setting or 'no setting':32} {outcome} [{seconds:.0f} s]", flush=True)
    if run.returncode:
        print(run.stdout, run.stderr, sep="\n", flush=True)
    return not run.returncode


if __name__ == "__main__":
    sys.exit(main())
