"""The CUDA tests (tests/cuda/checks.py), run without pytest, which the interpreter may not have."""

from __future__ import annotations

import sys

import torch
from checks import CHECKS
from comparing import exact_formats
from report import Box, Report, reason


def checking(report: Report, box: Box, device: torch.device, smoke: bool) -> None:
    """Run them and write what they find; exit with 1 where one fails."""
    about = "The device against the CPU: the largest difference relative to the largest value, and what is allowed."
    report.table("Checks", about, "check", "difference", "allowed", "outcome")
    failed = 0
    for name in ("kernels", "blocks", "routed") if smoke else CHECKS:
        try:
            with exact_formats():
                for check in CHECKS[name](device):
                    failed += not check.passed
                    outcome = "told" if check.allowed is None else "passed" if check.passed else "FAILED"
                    report.row(check.what, check.distance, "" if check.allowed is None else check.allowed, outcome)
                    if box.left < 0:
                        break
        except Exception as error:
            failed += 1
            report.row(name, "", "", f"FAILED: {reason(error)}")
        if box.left < 0:
            report.line("\nTime is up.")
            break
    report.line(f"\n{failed} failed.")
    if failed:
        sys.exit(1)
