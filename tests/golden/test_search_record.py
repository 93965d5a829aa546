"""Searches with one supernet, and every network at small size, against the record of what they came to.

Where a change should move a figure, write the record anew (search_record.py) and say in the commit why.

What is discrete is equal: architectures, hashes, MACs, parameters. Two of two_stream's best architectures are equally
probable but for the last bits, so the probability of the best one is compared. Figures are float64 and agree to 1e-6 of
the largest of them: machines differ in the order of sums, by 1e-16 at first, which networks and 20 updates enlarge to
1e-9 at most, as seen with the kernels of older processors; a change of code moves figures by 1e-3 and more. S2DNets in
fp32 differ by 6e-6 there, and get the tolerance of fp32 (tolerance.py).
"""

import json
from typing import Any

import numpy as np
import pytest
from search_record import FILE, SEARCHES, in_fp32, logits_record, search_record

from autovid.models import NETWORKS

RECORD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
TOLERANCE, IN_FP32 = 1e-6, 5e-3
QUICK = ("tsm_mobilenet_v2", "x3d_s")
NAMES = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.thorough]) for name in NETWORKS]
SPACES = [pytest.param(name, marks=[] if name == "tiny" else [pytest.mark.thorough]) for name in SEARCHES]


def assert_near(values: Any, recorded: Any, what: str, tolerance: float = TOLERANCE) -> None:
    values, recorded = np.array(values, np.float64), np.array(recorded, np.float64)  # what was not measured is nan
    assert values.shape == recorded.shape, what
    assert (np.isnan(values) == np.isnan(recorded)).all(), what
    error = np.nanmax(np.abs(values - recorded)) / np.nanmax(np.abs(recorded))
    assert error < tolerance, f"{what}: {error:.1e}"


@pytest.mark.parametrize("name", SPACES)
def test_a_search_is_the_recorded_one(name: str) -> None:
    search, recorded = search_record(name), RECORD["searches"][name]
    for key in ("drawn", "random", *(["architecture"] if name == "tiny" else [])):
        assert search[key] == recorded[key], key
    for key in ("loss", "held_out_loss", "entropy", "log_probability", "weights"):
        assert_near(search[key], recorded[key], key)
    assert search["log_probabilities"].keys() == recorded["log_probabilities"].keys()
    for decision, logp in recorded["log_probabilities"].items():
        assert_near(search["log_probabilities"][decision], logp, decision)


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_recorded_ones(name: str) -> None:
    assert_near(logits_record(name), RECORD["logits"][name], name, IN_FP32 if in_fp32(name) else TOLERANCE)


def test_the_record_has_every_network() -> None:
    assert RECORD["logits"].keys() == set(NETWORKS)
