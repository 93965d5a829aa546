"""The package as a user gets it: pinned, with its YAML files, and set up by a Makefile that recovers."""

import configparser
import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import autovid
from autovid.config.resources import experiments_dir, search_spaces_dir

ROOT = Path(__file__).resolve().parents[1]
BUILT_FROM = ("setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")


def requirements() -> list[Requirement]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    text = config["options"]["install_requires"] + config["options.extras_require"]["dev"]
    return [Requirement(line) for line in text.splitlines() if line]


def constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pins(python: str) -> dict[str, str]:
    """Name to version of what constraints.txt pins for a Python version."""
    environment = {"python_version": python, "python_full_version": python + ".0"}
    chosen = [pin for pin in constraints() if pin.marker is None or pin.marker.evaluate(environment)]
    assert len({pin.name for pin in chosen}) == len(chosen), "one pin a package"
    assert all(str(pin.specifier).startswith("==") for pin in chosen)
    return {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in chosen}


def needed() -> Iterator[tuple[str, str]]:
    """Name and installed version of everything that setup.cfg brings in here, dependencies of dependencies included."""
    todo = [(one.name, extra) for one in requirements() for extra in ("", *one.extras)]
    seen = set()
    while todo:
        name, extra = todo.pop()
        if (canonicalize_name(name), extra) in seen:
            continue
        seen.add((canonicalize_name(name), extra))
        distribution = importlib.metadata.distribution(name)
        yield canonicalize_name(name), Version(distribution.version).public
        for one in map(Requirement, distribution.requires or ()):
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                todo += [(one.name, inner) for inner in ("", *one.extras)]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_pins_lie_in_the_ranges(python: str) -> None:
    pinned = pins(python)
    for one in requirements():
        assert pinned[canonicalize_name(one.name)] in one.specifier, one


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        # Older ones end the process on an MPEG file; what 20 takes away is not known.
        ("av", ["17.1.0", "18.1.0", "19.0.2"], ["17.0.1", "20.0.0"]),
        ("ray", ["2.52.0", "2.60.0"], ["2.51.2", "3.0.0"]),  # no tokens; not known
        ("numpy", ["2.0.0"], ["1.26.4"]),  # pyarrow, which Ray's tuning needs, refuses it
        ("onnxscript", ["0.7.0"], ["0.6.2"]),  # torch 2.13 cannot export every network with it
    ],
)
def test_versions_that_do_not_work_are_out_of_range(name: str, accepted: list[str], refused: list[str]) -> None:
    (ours,) = [one.specifier for one in requirements() if one.name == name]
    assert [*ours.filter([*accepted, *refused])] == accepted


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="not the environment that the Makefile makes")
def test_everything_installed_is_pinned_at_its_version() -> None:
    pinned = pins(f"{sys.version_info.major}.{sys.version_info.minor}")
    wrong = {name: (version, pinned.get(name)) for name, version in needed() if pinned.get(name) != version}
    assert not wrong, "installed, pinned"


def test_a_checkout_uses_its_own_yaml_folders() -> None:
    assert search_spaces_dir() == ROOT / "search_spaces"
    assert experiments_dir() == ROOT / "experiments"
    assert (search_spaces_dir() / "two_stream.yaml").is_file()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout, in a folder with a space in its name."""
    return copied(tmp_path / "a folder")


def copied(folder: Path) -> Path:
    copy = folder / "autovid"
    copy.mkdir(parents=True)
    shutil.copytree(ROOT / "autovid", copy / "autovid", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("search_spaces", "experiments"):
        (copy / name).mkdir()
        for path in (ROOT / name).glob("*.yaml"):
            shutil.copy(path, copy / name)
    for name in (*BUILT_FROM, "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, copy)
    return copy


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "PYTHON"))}
    return subprocess.run(command, cwd=cwd, env=kept | environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made of a source distribution, which is made of a checkout with a search space and an experiment more."""
    folder, copy = tmp_path_factory.mktemp("made"), copied(tmp_path_factory.mktemp("a folder"))
    for name in ("search_spaces", "experiments"):
        (copy / name / "mine.yaml").write_text("about: mine\n", encoding="utf-8")
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    sdist = run(sys.executable, "-c", code, folder, cwd=copy)
    assert sdist.returncode == 0, sdist.stderr
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder)
    built = run(*pip, next(folder.glob("*.tar.gz")), cwd=folder)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, and the packages of this one but for autovid's checkout."""
    folder = tmp_path_factory.mktemp("elsewhere")
    assert run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder).returncode == 0
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-deps", wheel)
    assert run(*pip, cwd=folder).returncode == 0
    site = next(folder.glob("lib/python*/site-packages"))
    # An editable installation is a .pth file of its own, and those of a folder named in one are not read.
    site.joinpath("others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "bin"


def test_a_wheel_carries_all_yaml_files_and_finds_them(elsewhere: Path, tmp_path: Path) -> None:
    code = (
        "from autovid.config.resources import *; import autovid; print(autovid.__file__); "
        "print(*sorted(p.name for d in (search_spaces_dir(), experiments_dir()) for p in d.iterdir()))"
    )
    listed = run(elsewhere / "python", "-c", code, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    file, names = listed.stdout.splitlines()
    assert Path(file).is_relative_to(elsewhere.parent)
    shipped = [path.name for name in ("search_spaces", "experiments") for path in (ROOT / name).glob("*.yaml")]
    assert names.split() == sorted([*shipped, "mine.yaml", "mine.yaml"])
    assert Path(file).with_name("models").joinpath("auto_tsnet_s.yaml").is_file()
    assert Path(file).with_name("data").joinpath("tools", "mini_classes.json").is_file()
    assert Path(file).with_name("py.typed").is_file()


@pytest.mark.slow
def test_a_search_runs_outside_of_the_repository(elsewhere: Path, tiny_videos: Path, tmp_path: Path) -> None:
    words = "search --space tiny --flops 0.0075:0.008 --steps 2 --samples 2 --batch 2 --crop 16 --jitter 16:20"
    more = ("--recipe", "proxy", "--data", tiny_videos, "--device", "cpu", "--out", "found")
    done = run(elsewhere / "autovid", *words.split(), *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "found" / "architecture.yaml").is_file()


def test_the_version_has_one_source_and_asking_for_it_loads_no_torch(
    elsewhere: Path, wheel: Path, tmp_path: Path
) -> None:
    said = run(elsewhere / "autovid", "--version", cwd=tmp_path)
    assert said.stdout == f"autovid {autovid.__version__}\n"
    loaded = run(elsewhere / "python", "-X", "importtime", "-m", "autovid", "--version", cwd=tmp_path).stderr
    assert "autovid.cli" in loaded
    assert "torch" not in loaded
    assert sorted(path.name for path in wheel.parent.iterdir()) == [
        f"autovid_nas-{autovid.__version__}-py3-none-any.whl",
        f"autovid_nas-{autovid.__version__}.tar.gz",
    ]
    assert wheel.name in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        about = email.message_from_string(file.read(metadata).decode("utf-8"))
    assert {name.split("/")[0] for name in names} == {"autovid", metadata.split("/")[0]}
    assert (about["Name"], about["License-Expression"]) == ("autovid-nas", "Apache-2.0")
    said = about.get_all("Classifier", [])
    pythons = [name.rsplit(" ", 1)[1] for name in said if re.search(r"Python :: 3\.\d+$", name)]
    assert pythons == ["3.10", "3.11", "3.12", "3.13"]
    assert {"Operating System :: MacOS", "Operating System :: POSIX :: Linux", "Typing :: Typed"} <= set(said)
    assert about["Keywords"]
    assert about["Project-URL"]
    text = str(about.get_payload())
    assert "![" not in text, "a picture that does not show where the README is without the repository"
    pictures = re.findall(r"!\[(.+?)\]\((.+?)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert pictures
    assert all(words in text and f"`{file}`" in text and (ROOT / file).is_file() for words, file in pictures)


def test_nobody_is_told_to_install_what_others_call_autovid() -> None:
    pages = [file for file in (ROOT / "docs").rglob("*.md") if "_build" not in file.parts]
    files = [*ROOT.glob("*.md"), *pages, *(ROOT / "experiments").glob("*.*")]
    files += [file for kind in ("*.py", "*.md") for file in (ROOT / "autovid").rglob(kind)]
    told = re.compile(r"pip install[^`\n]*\bautovid(?![\w/.])")
    assert not [path for path in files if told.search(path.read_text(encoding="utf-8"))]


def test_no_folder_of_modules_is_left_out_of_the_wheel() -> None:
    folders = {path.parent for path in (ROOT / "autovid").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


# The Makefile, with an interpreter that only writes down what it is asked to do

STUB = """#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in
  *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"pip install"*) exit "$PIP_EXIT" ;;
esac
"""


Make = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def make(checkout: Path, tmp_path: Path) -> Make:
    """Runs make and returns its exit code and what it asked of the interpreter: "venv", "pip install"."""
    stub, log = tmp_path / "my python", tmp_path / "log"
    stub.write_text(STUB, encoding="utf-8")
    stub.chmod(0o755)

    def make(*goals: str, pip_exit: int = 0, python: Path = stub) -> tuple[int, list[str]]:
        log.write_text("", encoding="utf-8")
        done = run("make", *goals, f"PYTHON={python}", cwd=checkout, LOG=str(log), PIP_EXIT=str(pip_exit))
        asked = log.read_text(encoding="utf-8")
        return done.returncode, [step for step in ("venv .venv", "pip install", "pytest") if f"-m {step}" in asked]

    return make


def test_setup_twice_in_a_row_does_nothing_the_second_time(make: Make) -> None:
    assert make("setup") == (0, ["venv .venv", "pip install"])
    assert make("setup") == (0, [])


@pytest.mark.parametrize("name", ["setup.cfg", "setup.py", "pyproject.toml", "constraints.txt"])
def test_new_requirements_are_installed_into_the_same_environment(make: Make, checkout: Path, name: str) -> None:
    make("setup")
    later = (checkout / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(checkout / name, (later, later))
    assert make("setup") == (0, ["pip install"])


def test_an_interrupted_installation_is_begun_again_from_nothing(make: Make, checkout: Path) -> None:
    assert make("setup", pip_exit=1) == (2, ["venv .venv", "pip install"])
    (checkout / ".venv" / "half a package").touch()
    assert make("setup") == (0, ["venv .venv", "pip install"])
    assert not (checkout / ".venv" / "half a package").exists()
    assert make("setup") == (0, [])


def test_an_environment_without_a_python_is_made_again(make: Make, checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    assert make("setup") == (0, ["venv .venv", "pip install"])


def test_make_test_sets_up_and_runs_the_tests(make: Make) -> None:
    assert make("test") == (0, ["venv .venv", "pip install", "pytest"])
    assert make("test") == (0, ["pytest"])


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_the_bounds_are_tested_by_the_python_that_is_asked_for(make: Make, tmp_path: Path, which: str) -> None:
    assert make(f"test-{which}") == (0, [])
    assert (tmp_path / "log").read_text(encoding="utf-8").splitlines() == [f"tests/versions.py {which}"]


@pytest.mark.parametrize(("version", "accepted"), [((3, 9), False), ((3, 10), True), ((3, 13), True), ((3, 14), False)])
def test_the_python_is_new_and_old_enough(checkout: Path, tmp_path: Path, version: object, accepted: bool) -> None:
    old = tmp_path / "old python"
    code = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    script = f"#!/bin/sh\n[ \"$1\" = -c ] && exec '{sys.executable}' -c '{code}' \"$2\"\nexit 77\n"
    old.write_text(script, encoding="utf-8")
    old.chmod(0o755)
    done = run("make", "search", f"PYTHON={old}", cwd=checkout)
    assert done.returncode != 0
    assert ("autovid needs Python 3.10 to 3.13" in done.stderr) is not accepted
    assert (checkout / ".venv").exists() is accepted


@pytest.mark.parametrize("resumed", [False, True])
def test_make_search_searches_or_goes_on_and_derives(checkout: Path, make: Make, resumed: bool) -> None:
    make("setup")
    log = checkout / "log"
    autovid = checkout / ".venv" / "bin" / "autovid"
    autovid.write_text('#!/bin/sh\necho "$@" >> log\n', encoding="utf-8")
    autovid.chmod(0o755)
    if resumed:
        (checkout / "runs" / "search-two_stream").mkdir(parents=True)
    assert make("search")[0] == 0
    search = "search --space two_stream --flops 1.37:1.43 --out runs/search-two_stream" + " --resume" * resumed
    assert log.read_text(encoding="utf-8").splitlines() == [search, "derive runs/search-two_stream"]
