"""The latency of every architecture of the tabular benchmark, measured in one run on one machine.

Networks are those that `autovid bench` measures: norms folded, fp32, one clip at once. All take turns, so that other
work of the machine disturbs all alike. A run that is broken off writes nothing. The file has a line for each
architecture, after one that says where and how it was measured, which begins with `#`.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch

from autovid.errors import ConfigError
from autovid.kernels.compute import Compute
from autovid.measure import Turns, device_name, versions
from autovid.run import Progress, write_atomic
from autovid.space import Architecture
from autovid.studies.measured import measured_network
from autovid.studies.table_file import LatencyConditions, Milliseconds

FILE = "latency.csv"
COLUMNS = ("index", "hash", "ms_median", "ms_q1", "ms_q3")
REPEATS, WARM_UP = 500, 10  # rounds of all architectures


def measure_latency(
    archs: Mapping[int, Architecture], *, repeats: int = REPEATS, warm_up: int = WARM_UP
) -> tuple[LatencyConditions, dict[int, Milliseconds]]:
    """Measure architectures in turns, by their numbers, on the CPU, with the threads that torch has now."""
    compute = Compute("cpu", "fp32")
    progress = Progress(f"latency of {len(archs)} networks")
    progress.start(warm_up + repeats, 0, "building them")
    networks = [measured_network(arch.hash, arch, compute) for arch in archs.values()]
    turns = Turns([network.run(network.input(1)) for network in networks], compute.device)
    try:
        for done in range(warm_up):
            turns.warm_up(1)
            progress.update(done + 1, "warm-up", {})
        for done in range(repeats):
            turns.one_round()
            progress.update(warm_up + done + 1, "rounds of all", {})
    finally:
        progress.close()
    conditions = LatencyConditions(
        hardware=device_name(compute.device), threads=torch.get_num_threads(), precision=compute.precision.forward,
        repeats=repeats, versions=versions(),
    )  # fmt: skip
    times = [(round(1e3 * time, 4) for time in turns.quartiles(place)) for place in range(len(networks))]
    return conditions, {number: Milliseconds(*quartiles) for number, quartiles in zip(archs, times)}


def write_latency(
    path: Path, archs: Mapping[int, Architecture], conditions: LatencyConditions, times: Mapping[int, Milliseconds]
) -> None:
    """Write what was measured, whole or not at all."""
    text = io.StringIO()
    text.write(f"# {msgspec.json.encode(conditions).decode()}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((number, archs[number].hash, time.median, time.q1, time.q3) for number, time in times.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue())


def read_latency(
    path: Path, archs: Mapping[int, Architecture]
) -> tuple[LatencyConditions | None, dict[int, Milliseconds]]:
    """Read the file; nothing where there is none. Raises ConfigError where it is of other architectures."""
    if not path.is_file():
        return None, {}
    first, *lines = path.read_text().splitlines()
    conditions = msgspec.json.decode(first.removeprefix("# "), type=LatencyConditions)
    times = {}
    for row in csv.DictReader(lines):
        number = int(row["index"])
        if number not in archs or archs[number].hash != row["hash"]:
            raise ConfigError(f"{path}: architecture {number} is another one now; measure them anew with --latency")
        times[number] = Milliseconds(float(row["ms_q1"]), float(row["ms_median"]), float(row["ms_q3"]))
    return conditions, times
