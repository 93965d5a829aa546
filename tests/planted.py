"""A machine's profile of round numbers, by which a time can be worked out by hand."""

from pathlib import Path
from typing import Any

import msgspec

from autovid.costs.machine import Decoding, Exchange, FamilyRates, MachineProfile, MeasuredOperation
from autovid.costs.operations import FAMILIES

PEAK, BANDWIDTH = 1e9, 1e9  # MACs and bytes a second, at best
HALF = FamilyRates(forward=(MeasuredOperation(1e6, 1e6, 2e-3),), backward=(MeasuredOperation(1e6, 1e6, 4e-3),))
"""Half of what is best forward, a quarter backward."""


def machine(**changes: Any) -> MachineProfile:
    values: dict[str, Any] = {
        "hardware": "a planted machine",
        "source": "planted",
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "cores": 2.0,
        "memory": 8e9,
        "versions": {},
        "constant": 0.0,
        "peak": PEAK,
        "bandwidth": BANDWIDTH,
        "operations": dict.fromkeys(FAMILIES, HALF),
        "exchange": Exchange(latency=1e-3, bandwidth=1e8),
        "decoding": Decoding(frame=1e-3, pixel=0.0, augmented_pixel=1e-8),
    }
    return MachineProfile(**values | changes)


def write(path: Path, **changes: Any) -> Path:
    path.write_bytes(msgspec.json.encode(machine(**changes)))
    return path
