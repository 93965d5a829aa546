"""The time and GPU-hours that the papers' searches and trainings cost, predicted for GPUs of a data sheet: Markdown.

    python bench/plan.py [--hardware FILE] > bench/results/plan.md

Without FILE, the profile is made of figures that NVIDIA prints of an A100 SXM with 80 GB ("NVIDIA A100 Tensor Core
GPU", data sheet, 2021: 312 TFLOPS in bf16, 2,039 GB/s) and of a DGX A100 (128 cores for 8 GPUs, a 200 Gb/s link for
each), and of our assumptions: 40 % of the peak and of the bandwidth is reached, an operation takes 10 µs at least, and
a message 20 µs. Reading is as on a core of the machine that bench/machines/cpu.json was measured on. No GPU was
measured. The profile is written to bench/machines/a100-data-sheet.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from autovid.config import find_experiment
from autovid.costs.machine import Exchange, FamilyRates, MachineProfile, MeasuredOperation, read_machine_profile
from autovid.costs.operations import FAMILIES
from autovid.run.progress import long_duration
from autovid.search.plan import SearchPlan, load_search
from autovid.studies.prediction import SearchWork, TrainingWork, Workload
from autovid.studies.profile import write_machine_profile
from autovid.train.experiment import load_experiment

MACHINES = Path(__file__).resolve().parent / "machines"
PEAK, BANDWIDTH, MEMORY = 312e12 / 2, 2039e9, 80e9  # MACs and bytes a second, bytes
REACHED = 0.4
WORKERS = (1, 8, 32, 256)
SEARCHES = ("auto_tsnet_search",)
TRAININGS = (
    "auto_tsnet_s_kinetics400", "auto_tsnet_m_kinetics400", "auto_tsnet_l_kinetics400", "slowonly_kinetics400",
    "slowfast_kinetics400", "tsn_kinetics400", "deep_kinetics400", "s2dnet_kinetics400",
)  # fmt: skip


def data_sheet() -> MachineProfile:
    """The profile of a GPU that nobody has measured. Bytes are counted as in fp32, and bf16 moves half of them."""
    bandwidth = 2 * BANDWIDTH
    reached = (MeasuredOperation(1e12, 1e9, 1e12 / PEAK / REACHED),)
    by_bytes = (MeasuredOperation(0, 1e9, 1e9 / bandwidth / REACHED),)
    in_fp32 = (MeasuredOperation(0, 1e9, 1e9 / BANDWIDTH / REACHED),)
    rates = {family: FamilyRates(forward=reached if family in CONVOLVING else by_bytes) for family in FAMILIES}
    return MachineProfile(
        hardware="A100 SXM 80 GB",
        source="not measured: the data sheets of A100 and DGX A100, of which 40 % are assumed to be reached",
        device="cuda",
        precision="bf16",
        threads=1,
        cores=128 / 8,
        memory=MEMORY,
        versions={},
        constant=10e-6,
        peak=PEAK,
        bandwidth=bandwidth,
        operations=rates | {"optimizer": FamilyRates(forward=in_fp32)},
        exchange=Exchange(latency=20e-6, bandwidth=25e9),
        decoding=read_machine_profile(MACHINES / "cpu.json").decoding,
    )


CONVOLVING = ("product", "frames", "time", "cubes", "depthwise")


def workloads() -> Iterator[tuple[str, Workload]]:
    """The searches and trainings, by the names of their experiments."""
    for name in SEARCHES:
        loaded = load_search(file_of(name))
        known = loaded.experiment.dataset
        settings = loaded.settings(known.train)
        yield name, SearchWork(SearchPlan("", loaded.space, settings, loaded.constraints, "", known.classes))
    for name in TRAININGS:
        trained = load_experiment(file_of(name))
        known = trained.experiment.dataset
        yield name, TrainingWork(trained.model, trained.recipe, known.classes, known.train, known.val)  # type: ignore[arg-type]


def file_of(name: str) -> Path:
    """The file of an experiment of ours."""
    path = find_experiment(name)
    assert path is not None
    return path


def row(name: str, work: Workload, machine: MachineProfile) -> str:
    """A line of the table."""
    cells = []
    for workers in WORKERS:
        if work.batch % (workers * work.parts):
            cells.append("the batch does not divide")
            continue
        step = work.step(machine, workers)
        whole = work.steps * step.total + work.forward_clips() * work.forward(machine) / workers
        reading = ", reading" * (step.reading > step.compute + step.exchange)
        full = ", memory" * (work.memory(machine, workers).total > machine.memory)
        cells.append(f"{long_duration(whole)} ({whole * workers / 3600:,.0f}{reading}{full})")
    return f"| `{name}` | {work.steps:,} x {work.batch} | {' | '.join(cells)} |"


def main() -> None:
    """Predicts and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hardware", type=Path, help="a file of autovid profile")
    args = parser.parse_args()
    machine = read_machine_profile(args.hardware) if args.hardware else data_sheet()
    if not args.hardware:
        write_machine_profile(MACHINES / "a100-data-sheet.json", machine)
    print(f"Predicted for {machine.about()}.\n")
    print("| experiment | steps x clips | " + " | ".join(f"{n} GPU{'s' * (n > 1)}" for n in WORKERS) + " |")
    print("|---|---:|" + "---:|" * len(WORKERS))
    for name, work in workloads():
        print(row(name, work, machine), flush=True)


if __name__ == "__main__":
    main()
