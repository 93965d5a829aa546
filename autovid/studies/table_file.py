"""The file of a tabular benchmark: what architectures of a space came to, each trained alone, and what they cost."""

from pathlib import Path

import msgspec

from autovid.errors import ConfigError
from autovid.space.schema import Value

FORMAT = 1


class Milliseconds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The latency of a network: quartiles and median of its repeats, in milliseconds of one clip."""

    q1: float
    median: float
    q3: float


class LatencyConditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Conditions of all latencies of a table, which one run has measured, with folded norms."""

    hardware: str
    threads: int
    precision: str
    repeats: int
    versions: dict[str, str]

    def about(self) -> str:
        """Return the conditions in a line."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.hardware}, {threads}, {self.precision}, torch {self.versions.get('torch', 'unknown')}"


class TrainedArchitecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One architecture of a file: its choices by decision; the rest as in `TableEntry`. None: not in the file."""

    choices: dict[str, Value]
    loss: list[float]
    correct: list[int]
    macs: int | None = None
    params: int | None = None
    latency: Milliseconds | None = None


class TableFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of a table; each training was judged on `clips` clips, whose loss by chance is `chance`.

    Of a table that is not complete: how many trainings are `planned`, and the MACs from and to which none is missing.
    `latency`: how the latencies were measured; None where the table has none.
    """

    format: int = FORMAT
    space: str
    about: str = ""
    clips: int
    chance: float
    planned: int = 0
    covered: tuple[int, int] = (0, 0)
    latency: LatencyConditions | None = None
    architectures: list[TrainedArchitecture]


def read_table(path: Path) -> TableFile:
    """Read a table. Raises ConfigError where the file is missing or not a table."""
    try:
        file = msgspec.json.decode(path.read_bytes(), type=TableFile)
    except OSError as error:
        raise ConfigError(f"table {path}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} is not a table of architectures: {error}") from None
    if file.format != FORMAT:
        raise ConfigError(f"{path} has format {file.format}; this autovid reads {FORMAT}")
    odd = [one for one in file.architectures if not one.loss or len(one.loss) != len(one.correct)]
    if odd or file.clips < 1:
        raise ConfigError(f"{path}: every architecture needs a loss and a number of correct clips for each seed")
    if file.latency is not None and not file.latency.about().isprintable():
        raise ConfigError(f"{path}: the conditions of its latencies hold control characters")
    return file
