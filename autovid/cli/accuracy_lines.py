"""Words and lines that commands print of an accuracy."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autovid.train import Evaluation

FEW_CLASSES = 6  # as many as fit into a line


def of_classes(evaluation: "Evaluation") -> str:
    """Return " of 3 of 4 classes" where the others have no video in the split; else nothing."""
    values = evaluation.of_classes
    seen = sum(value is not None for value in values.values())
    return f" of {seen} of {len(values)} classes" if seen < len(values) else ""


def accuracies(evaluation: "Evaluation") -> list[str]:
    """Return "top-1 41.67 %" and "top-5 90.00 %", or for videos of several classes mAP and hit@1.

    There is no top-5 of five classes or fewer.
    """
    if evaluation.mean_ap is not None:
        return [f"mAP {percent(evaluation.mean_ap)}", f"hit@1 {percent(evaluation.top1)}"]
    figures = {"top-1": evaluation.top1, "top-5": evaluation.top5}
    return [f"{name} {percent(value)}" for name, value in figures.items() if value is not None]


def each_class(evaluation: "Evaluation") -> list[str]:
    """Return a line with the accuracy of each class and their mean, where they are few; else none.

    Of unequal classes, top-1 tells of the large ones alone.
    """
    values = {name: value for name, value in evaluation.of_classes.items() if value is not None}
    if not 2 <= len(values) <= FEW_CLASSES:
        return []
    mean = percent(sum(values.values()) / len(values))
    return [f"classes: {', '.join(f'{name} {percent(value)}' for name, value in values.items())}; their mean {mean}"]


def broken(evaluation: "Evaluation", file: Path) -> list[str]:
    """Return a line about videos that could not be read, if there are any; `file` lists them."""
    left_out = evaluation.videos - evaluation.decoded
    some = "1 broken video is" if left_out == 1 else f"{left_out} broken videos are"
    return [f"{some} left out; {shlex.quote(str(file))} has the reasons"] if left_out else []


def percent(value: float | None) -> str:
    """Write "41.67 %", or a dash for None."""
    return "-" if value is None else f"{value:.2f} %"
