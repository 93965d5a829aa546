"""autovid on a GPU: what must hold there, and how fast it is beside plain torch. Prints Markdown, and writes it.

    python bench/gpu                        in 10 minutes, to bench/results/gpu-NAME.md (make gpu PYTHON=python3)
    python bench/gpu --only networks        one section alone, which is added to the file
    python bench/gpu --smoke --out FILE     the same on a CPU in a minute, on the smallest of everything

It needs torch, NumPy, msgspec, PyYAML and safetensors, and this package need not be installed. Steps of a search and of
a training also need what a run does (rich, tensorboard, Pillow). No network, no videos. Each section is a process of
its own with its time: one that hangs or breaks the device takes no other with it. Every line is in the file when it is
measured.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE), str(ROOT / "tests" / "cuda")]

# The module, its function and the seconds of each section.
SECTIONS = {
    "checks": ("checking", "checking", 110),
    "networks": ("networks", "networks", 130),
    "search": ("search", "search", 90),
    "depthwise": ("depthwise", "depthwise", 70),
    "compiled": ("networks", "compiled", 110),
    "profile": ("profiling", "profiling", 60),
}
NEEDED = ("torch", "numpy", "msgspec", "yaml", "safetensors")
GRACE = 5  # seconds after its time in which a section has to end by itself


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the file of results")
    parser.add_argument("--only", choices=SECTIONS, help="this section alone")
    parser.add_argument("--smoke", action="store_true", help="the smallest of everything, also on a CPU")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--end", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if missing := [name for name in NEEDED if not importable(name)]:
        print(
            f"{sys.executable} lacks {', '.join(missing)}; a folder with them on PYTHONPATH is enough", file=sys.stderr
        )
        return 2
    import torch

    if not torch.cuda.is_available() and not args.smoke:
        print("torch sees no CUDA device here; --smoke tries this script on the CPU", file=sys.stderr)
        return 2
    out = args.out or ROOT / "bench" / "results" / f"gpu-{device_slug()}.md"
    if args.section:
        section(args.section, out, args.end, args.smoke)
        return 0
    if not args.only:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("", encoding="utf-8")
        head(out)
    names = [args.only] if args.only else list(SECTIONS)
    if args.smoke:
        for name in names:
            section(name, out, time.time() + 60, True)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the section ends, too
    return max(each_by_itself(names, out))


def each_by_itself(names: list[str], out: Path) -> list[int]:
    """Run each section as a process with its time, and with what those before it have left; return the exit codes."""
    codes, spare = [], 0.0
    for name in names:
        start, limit = time.monotonic(), SECTIONS[name][2] + spare
        end = str(time.time() + limit - GRACE)
        command = [sys.executable, str(HERE), "--section", name, "--out", str(out), "--end", end]
        process = subprocess.Popen(command)
        try:
            codes.append(abs(process.wait(limit)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            codes.append(1)
        except BaseException:
            process.kill()
            raise
        if codes[-1]:
            with out.open("a", encoding="utf-8") as file:
                file.write(f"\nThe section {name} ended with code {codes[-1]}.\n")
        spare = max(0.0, limit - (time.monotonic() - start))
    return codes


def section(name: str, out: Path, end: float, smoke: bool) -> None:
    """Run one section in this process, until `end` by the clock."""
    import torch
    from report import Box, Report

    module, function, _ = SECTIONS[name]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    getattr(importlib.import_module(module), function)(Report(out), Box(end - time.time()), device, smoke)


def head(out: Path) -> None:
    """Write what it was measured on."""
    import torch
    from report import Report

    report = Report(out)
    report.line(f"# autovid on {device_name()}\n")
    report.row("", "")
    report.line("|---|---|")
    facts = {"device": device_name(), "host": f"{platform.machine()}, {platform.platform()}"}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts["memory"] = f"{properties.total_memory / 1e9:.0f} GB"
        facts["multiprocessors"] = str(properties.multi_processor_count)
        facts["driver"] = driver()
        facts["CUDA, cuDNN"] = f"{torch.version.cuda}, {torch.backends.cudnn.version()}"
    facts["torch, Python"] = f"{torch.__version__}, {platform.python_version()}"
    facts["commit"] = answer("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") or "unknown"
    for what, value in facts.items():
        report.row(what, value)


def driver() -> str:
    """Return the driver's version, as nvidia-smi says it."""
    return (answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "unknown").splitlines()[0]


def answer(*command: str) -> str:
    """Return what a program prints; nothing where it fails or is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def device_name() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"CPU, {platform.machine()}"


def device_slug() -> str:
    """Return the device's name for a file."""
    return re.sub(r"[^a-z0-9]+", "-", device_name().lower()).strip("-")


def importable(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


if __name__ == "__main__":
    sys.exit(main())
