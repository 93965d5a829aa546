"""Runs tests with the oldest or the newest versions that setup.cfg allows: what `make test-oldest` and `-newest` do.

    python tests/versions.py oldest|newest [what pytest is to run, instead of TESTS]

An environment of its own, .venv-oldest or .venv-newest, is made anew for the Python that runs this. uv finds the
versions: the oldest of what setup.cfg names, the newest of what these need in turn. They are wheels, since a release
that is older than a Python mostly cannot be compiled for it. On Linux torch stays at one version, of which a CPU build
is taken where $PIP_FIND_LINKS or $PIP_INDEX_URL has one: every other means a CUDA build of gigabytes.
"""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESOLUTION = {"oldest": "lowest-direct", "newest": "highest"}
PYTHONS = {"oldest": "3.10", "newest": "3.13"}  # for which the bounds themselves can be had
TORCH = "torch==2.13.0"
WHEELS = ("--only-binary", ":all:", "--no-binary", "fvcore", "--no-binary", "iopath")  # the last two have none
# At least one light test of every direct dependency; arithmetic is tested by `make test`. `config` has pyyaml and
# msgspec; `data` av, pillow, fsspec, urllib3, and (its servers) s3fs, moto, flask; `export` onnx, onnxruntime,
# onnxscript, openvino; `cluster` ray; `report` matplotlib, resvg-py, jinja2, markupsafe; `run` tensorboard, rich,
# safetensors; `costs` fvcore. Only ruff and mypy are not tried: what they find changes with their version.
TESTS = (
    "config", "data", "export", "cluster", "report", "run", "runtimes", "costs/test_verify.py", "search/test_search.py",
    "cli/test_describe.py", "cli/test_describe_verify.py", "cli/test_export_predict.py", "test_packaging.py",
)  # fmt: skip
MARKED = ("-m", "not thorough")  # with those that start servers, which `make test` leaves out


def requirements() -> list[str]:
    """What setup.cfg names, the tools of the tests included."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    text = config["options"]["install_requires"] + config["options.extras_require"]["dev"]
    return [line for line in text.splitlines() if line]


class Environment:
    """A virtual environment with uv in it."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        self.python = folder / "bin" / "python"
        subprocess.run([self.python, "-m", "pip", "install", "--quiet", "uv"], check=True)
        # uv does not read what pip is told.
        told = {name: os.environ.get(f"PIP_{name}") for name in ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS")}
        self._variables = {**os.environ, **{f"UV_{name}": value for name, value in told.items() if value}}

    def uv(self, *words: str, lines: Iterable[str] = ()) -> str:
        """Runs `uv pip` on this environment and gives its output; `lines` are its standard input."""
        command = [self.python.with_name("uv"), "pip", *words, "--quiet", "--python", self.python]
        text, pipe = "\n".join(lines), subprocess.PIPE
        done = subprocess.run(command, input=text, env=self._variables, cwd=ROOT, text=True, stdout=pipe, check=True)
        return done.stdout

    def resolve(self, lines: Iterable[str], resolution: str, *words: str) -> dict[str, str]:
        """Name to version of everything that these requirements bring in."""
        plain = ("--no-annotate", "--no-header")
        resolved = self.uv("compile", "-", "--resolution", resolution, *plain, *WHEELS, *words, lines=lines)
        return dict(line.split("==") for line in resolved.splitlines())


def install(environment: Environment, which: str) -> None:
    """Installs autovid and the versions, and prints those of setup.cfg, with the bound where that is another."""
    ours, way = requirements(), RESOLUTION[which]
    kept = [f"torch=={environment.resolve([TORCH], 'highest')['torch']}"] if sys.platform == "linux" else []
    chosen = environment.resolve([*ours, *kept], way)
    bounds = environment.resolve(ours, way, "--python-version", PYTHONS[which])
    environment.uv("install", "-r", "-", *WHEELS, lines=(f"{name}=={version}" for name, version in chosen.items()))
    environment.uv("install", "--no-deps", "--no-build-isolation", "-e", ".")
    print(f"Python {sys.version.split()[0]}, {which} versions:")
    for name in (re.split(r"[\[<>=]", line)[0] for line in ours):
        other = "" if chosen[name] == bounds[name] else f" (the {which} is {bounds[name]})"
        print(f"  {name} {chosen[name]}{other}", flush=True)


def builds_the_site(environment: Environment) -> bool:
    """Whether sphinx, with myst-parser and furo, makes the site without an error; warnings are for `make docs`."""
    with tempfile.TemporaryDirectory() as folder:
        words = [environment.python, "-m", "sphinx", "-q", "-b", "html", "docs", folder]
        return subprocess.run(words, cwd=ROOT).returncode == 0


def main() -> int:
    which, *tests = sys.argv[1:]
    environment = Environment(ROOT / f".venv-{which}")
    install(environment, which)
    chosen = tests or [f"tests/{name}" for name in TESTS]
    outcome = subprocess.run([environment.python, "-m", "pytest", "-q", *MARKED, *chosen], cwd=ROOT).returncode
    built = bool(tests) or builds_the_site(environment)
    return outcome or int(not built)


if __name__ == "__main__":
    sys.exit(main())
