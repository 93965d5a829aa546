"""`make gpu`, tried out on a CPU: it runs to its end, loads nothing that it need not, and measures what it says."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from comparing import clips, distance, room

from autovid.costs.machine import read_machine_profile
from autovid.models import Network, NetworkSpec, build_network

FOLDER = Path(__file__).resolve().parents[2] / "bench" / "gpu"
ABSENT = ("ray", "av", "matplotlib", "resvg_py", "fvcore", "jinja2", "pytest")
OWN = ("plain", "depthwise", "report", "__main__")


def script(*arguments: str | Path, path: Path | None = None, code: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-c", code] if code else [FOLDER]), *map(str, arguments)]
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", **({"PYTHONPATH": str(path)} if path else {})}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import a file of the script, and forget it afterwards: its names are common ones."""
    monkeypatch.syspath_prepend(FOLDER)
    before = {name: sys.modules.pop(name) for name in OWN if name in sys.modules and name != "__main__"}
    yield import_module
    for name in OWN:
        if name != "__main__":
            sys.modules.pop(name, None)
    sys.modules.update(before)


@pytest.mark.thorough
def test_a_trial_measures_everything_without_ray_av_and_drawing(tmp_path: Path) -> None:
    for name in ABSENT:
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'loaded')!r}, 'a').write('{name} ')\nraise ImportError('{name} is not here')\n"
        )
    out = tmp_path / "gpu.md"
    run = script("--smoke", "--out", out, path=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert not (tmp_path / "loaded").exists(), (tmp_path / "loaded").read_text()
    text = out.read_text()
    sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert sections == [
        *("Checks", "Networks", "Search step", "Clips to the device", "Latency"),
        *("Depthwise 3-D convolution", "torch.compile", "Profile"),
    ]
    assert not [line for line in text.splitlines() if "failed:" in line or "FAILED" in line or "<!--" in line]
    assert "Time is up" not in text
    rows = {line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")}
    assert {"x3d_xs, fp32", "tsm_resnet18, fp32", "tiny", "glore, fp32", "torch, Python"} <= rows
    assert all(line in run.stdout for line in text.splitlines())
    assert read_machine_profile(tmp_path / "gpu.json").decoding is None


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    run = script("--out", tmp_path / "gpu.md")
    assert (run.returncode, run.stdout) == (2, "")
    assert "no CUDA device here; --smoke" in run.stderr
    assert not (tmp_path / "gpu.md").exists()


def test_a_section_that_hangs_or_dies_is_told_and_the_next_one_runs(tmp_path: Path) -> None:
    out = tmp_path / "gpu.md"
    out.write_text("measured\n")
    here = tmp_path / "sections"
    here.mkdir()
    (here / "__main__.py").write_text(
        "import os, sys, time\nname = sys.argv[2]\n"
        "open(sys.argv[4], 'a').write(name + ' begins\\n')\n"
        "time.sleep(60 if name == 'checks' else 0)\nos.kill(os.getpid(), 9) if name == 'networks' else None\n"
    )
    code = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(FOLDER)!r}); import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('script', {str(FOLDER / '__main__.py')!r})\n"
        "main = importlib.util.module_from_spec(spec); spec.loader.exec_module(main)\n"
        f"main.HERE = Path({str(here)!r})\n"
        "main.SECTIONS = {name: (name, name, 0.5) for name in ('checks', 'networks', 'search')}\n"
        f"print(main.each_by_itself(list(main.SECTIONS), Path({str(out)!r})))\n"
    )
    run = script(code=code)
    assert run.returncode == 0, run.stderr
    text = out.read_text()
    assert text.startswith("measured\n")
    assert "checks ended with code 1" in text
    assert "search begins" in text
    assert run.stdout.splitlines()[-1].endswith("0]")


SMALL = [
    NetworkSpec(network=name, classes=3, frames=frames, crop=32)
    for name, frames in [
        ("x3d_xs", 4), ("tsm_resnet18", 4), ("tam_resnet18", 4), ("s3d_resnet18", 4), ("slowfast_r50_4x16", 16),
        ("tanet_resnet50", 4), ("tdn_resnet50", 10),
    ]
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("spec", SMALL, ids=[spec.network for spec in SMALL])
def test_the_plain_form_computes_the_same_by_other_calls(spec: NetworkSpec, own: Any) -> None:
    plain = own("plain")
    plain.places.cache_clear()
    torch.manual_seed(0)
    net: Network = build_network(spec)
    x = clips(2, 3, net.clip.frames, net.clip.crop, net.clip.crop)
    other = plain.contiguous(net)
    calls: list[str] = []
    with torch.no_grad():
        ours = net.eval()(x)
        with plain.torch_alone(), torch.profiler.profile() as profiler:
            theirs = other.eval()(x.contiguous())
        calls = [event.key for event in profiler.key_averages()]
        again = net(x)
    assert distance(theirs, ours) < 1e-3  # tests/tolerance.py: fp32 networks err by 7e-4
    assert torch.equal(again, ours)
    assert "aten::conv3d" in calls
    assert "aten::conv2d" not in calls or spec.network.startswith("tdn")  # which convolves differences of frames


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)])
def test_the_ways_of_a_depthwise_convolution_agree(stride: tuple[int, int, int], own: Any) -> None:
    depthwise = own("depthwise")
    for kernel, side in itertools.product([(3, 3, 3), (5, 1, 1), (1, 3, 3)], [6, 7]):
        x, weight = clips(2, 8, 4, side, side), clips(8, 1, *kernel)
        exact = depthwise.one_call(x.double(), weight.double(), stride)
        for way in (depthwise.by_frames, depthwise.by_taps, depthwise.converted):
            assert distance(way(x, weight, stride), exact) < room(27), (way, kernel)
