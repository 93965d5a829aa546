"""The rates of a machine, as a file that `autovid profile` writes, and the time of operations by them.

Of each family of operations (`autovid.costs.operations`) some were measured, at sizes of real networks. Another one is
taken to be as efficient as those nearest in MACs and bytes, where efficiency is the least time by the machine's peak
and bandwidth (the roofline: Williams, Waterman and Patterson, "Roofline", 2009, doi 10.1145/1498765.1498785), over the
time measured. How efficiencies are blended, and the rest, is ours.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from autovid.clip import Clip
from autovid.costs.operations import FAMILIES, Operation
from autovid.errors import ConfigError
from autovid.kernels.compute import Name
from autovid.space.schema import Strict

FORMAT = 1
NEAREST = 4  # measured operations that another one's time is taken from
SAME = 0.05  # squared distance in logarithms below which a measured operation is as good as the same one

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e30)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=1e30)]


class MeasuredOperation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """An operation that was measured: [MACs, bytes, seconds, bytes of weights]; older files have no weights."""

    macs: NotNegative
    bytes: Positive
    seconds: Positive
    weights: NotNegative = 0.0


class FamilyRates(Strict, frozen=True, kw_only=True):
    """The measured operations of a family."""

    forward: tuple[MeasuredOperation, ...]
    backward: tuple[MeasuredOperation, ...] = ()


class Exchange(Strict, frozen=True, kw_only=True):
    """Sums over workers: seconds until a message of nothing is there, and bytes a second between two of them.

    `slowdown`: how many times as long a worker computes, reading aside, beside another one on its machine, whose memory
    they share.
    """

    latency: NotNegative
    bandwidth: Positive
    slowdown: Annotated[float, msgspec.Meta(ge=1)] = 1.0


class Decoding(Strict, frozen=True, kw_only=True):
    """Seconds of a core: for a frame of 340x256 that is decoded, and for a pixel that is cut out, and augmented."""

    frame: NotNegative
    pixel: NotNegative
    augmented_pixel: NotNegative

    def seconds(self, clip: Clip, augmented: bool) -> float:
        """Return the seconds of a core for a training clip, of videos as `autovid data resize` writes them."""
        whole = (clip.frames - 1) * clip.stride + 1 + KEYFRAMES / 2
        if clip.sampling == "uniform":  # each frame from the key frame before it on
            whole = clip.frames * (KEYFRAMES + 1) / 2
        pixels = clip.frames * clip.crop**2
        return whole * self.frame + pixels * (self.pixel + augmented * self.augmented_pixel)


KEYFRAMES = 12  # frames from a key frame to the next, as `autovid data resize` writes them


class MachineProfile(Strict, frozen=True, kw_only=True):
    """The file. `source` says where its numbers are from; memory in bytes of the device, `cores` for each device."""

    format: int = FORMAT
    hardware: str
    source: str
    device: str
    precision: Name
    threads: int
    cores: Positive
    memory: Positive
    versions: dict[str, str]
    constant: NotNegative  # seconds that any operation takes at least
    peak: Positive  # MACs a second
    bandwidth: Positive  # bytes a second, of memory
    operations: dict[str, FamilyRates]
    exchange: Exchange | None = None  # None: not measured
    decoding: Decoding | None = None

    def seconds(self, operations: Iterable[Operation]) -> list[float]:
        """Return the seconds of each operation."""
        known: dict[Operation, float] = {}
        result = []
        for operation in operations:
            if operation not in known:
                known[operation] = self._one(operation)
            result.append(known[operation])
        return result

    def _one(self, one: Operation) -> float:
        rates = self.operations[one.family]
        measured = (rates.backward or rates.forward) if one.backward else rates.forward
        weights, blended = 0.0, 0.0
        weighed = any(other.weights for other in measured)  # older files have no weights
        distances = sorted((_distance(one, other, weighed), n) for n, other in enumerate(measured))
        for distance, near in distances[:NEAREST]:
            weight = 1 / (SAME + distance)
            weights += weight
            efficiency = self._least(measured[near].macs, measured[near].bytes) / measured[near].seconds
            blended += weight * math.log(efficiency)
        return max(self.constant, self._least(one.macs, one.bytes) / math.exp(blended / weights))

    def _least(self, macs: float, moved: float) -> float:
        """Return the least time by the roofline."""
        return max(macs / self.peak, moved / self.bandwidth)

    def exchange_seconds(self, moved: float, workers: int) -> float:
        """Return the seconds of a sum of so many bytes over workers.

        A ring for the bytes, 2 (n - 1) / n of them over each link; a tree for the latency, twice log2 n hops.
        Raises ConfigError where the exchange was not measured.
        """
        if workers == 1:
            return 0.0
        if self.exchange is None:
            raise ConfigError(
                "this profile says nothing of the exchange between workers: write "
                '"exchange": {"latency": SECONDS, "bandwidth": BYTES_A_SECOND} into it, or give --workers 1'
            )
        hops = 2 * math.ceil(math.log2(workers))
        return hops * self.exchange.latency / 2 + 2 * (workers - 1) / workers * moved / self.exchange.bandwidth

    def slowdown(self, workers: int) -> float:
        """Return how many times as long as one alone each of so many workers computes."""
        return self.exchange.slowdown if workers > 1 and self.exchange else 1.0

    def about(self) -> str:
        """Return the conditions in a line."""
        return f"{self.hardware}; {self.device}, {self.precision}, {self.threads} threads; {self.source}"


def read_machine_profile(path: str | Path) -> MachineProfile:
    """Read a profile. Raises ConfigError for a file that is not one."""
    try:
        profile = msgspec.json.decode(Path(path).read_bytes(), type=MachineProfile)
    except OSError as error:
        raise ConfigError(f"machine profile {path}: {error.strerror}; autovid profile makes one") from None
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} is no machine profile: {error}; autovid profile makes one") from None
    if profile.format != FORMAT:
        raise ConfigError(f"{path} has format {profile.format}; this autovid reads {FORMAT}: measure it anew")
    wrong = sorted(profile.operations.keys() ^ FAMILIES.keys())
    empty = [family for family, rates in profile.operations.items() if not rates.forward]
    if wrong or empty:
        raise ConfigError(f"{path}: operations of {(wrong + empty)[0]!r} are unknown or missing; measure it anew")
    if not profile.about().isprintable():
        raise ConfigError(f"{path} is not as it was written: it holds control characters; measure it anew")
    return profile


def _distance(one: Operation, other: MeasuredOperation, weighed: bool) -> float:
    """Return the squared distance in logarithms of MACs, bytes and, where these are known, weights."""
    pairs = [(one.macs, other.macs), (one.bytes, other.bytes), (one.weights, other.weights)]
    return sum(math.log(max(a, 1.0) / max(b, 1.0)) ** 2 for a, b in pairs[: 3 if weighed else 2])
