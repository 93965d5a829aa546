"""Ranges of cost, as `--flops 1.37:1.43` and `--latency 20:25` give them, and the quantities they count.

A cost is a whole number: MACs (1 GFLOPs = 1e9 MACs), or nanoseconds.
"""

import decimal
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

from autovid.errors import ConfigError

_MOST = Decimal(10**9)  # GFLOPs or ms; 1e18 still fits into int64
_EXACT = decimal.Context(prec=120)  # enough for every product of two numbers of 60 digits


class CostRange(NamedTuple):
    """Architectures with `low` <= MACs <= `high`, both ends included."""

    low: int
    high: int

    def share(self, fraction: float) -> "CostRange":
        """The same range for a part of the network that may use `fraction` of the cost, rounded to whole MACs."""
        part = Decimal(str(fraction))
        low, high = (int(_EXACT.multiply(Decimal(end), part).to_integral_value(ROUND_HALF_EVEN)) for end in self)
        return CostRange(low, high)

    def middle(self) -> "CostRange":
        """The middle half of the range."""
        quarter = (self.high - self.low) // 4
        return CostRange(self.low + quarter, self.high - quarter)

    def __str__(self) -> str:
        return GFLOPS.say(*self)


class Quantity(NamedTuple):
    """What a cost counts: `size` of its `atom` (MACs) are one `name` (GFLOPs), the unit that people read and type."""

    what: str
    name: str
    atom: str
    size: int
    example: str

    def text(self, cost: int, rounding: str = ROUND_HALF_EVEN, digits: int = 12) -> str:
        """A cost as plain decimal text without trailing zeros, to `digits` significant digits."""
        value = decimal.Context(prec=digits, rounding=rounding).divide(Decimal(cost), Decimal(self.size))
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    def say(self, low: int, high: int) -> str:
        """ "1.37–1.43 GFLOPs"."""
        return f"{self.text(low)}–{self.text(high)} {self.name}"

    def parse(self, text: str) -> CostRange:
        """Reads "MIN:MAX" exactly ("1.37:1.43" GFLOPs is 1,370,000,000 to 1,430,000,000 MACs); MIN = MAX is allowed.

        Raises:
            ConfigError: not two finite, non-negative decimal numbers in rising order, or no whole number between them.
        """
        parts = text.split(":")
        if len(parts) != 2:
            wrong = f"the {self.what} range {text[:80]!r} is not MIN:MAX in {self.name}"
            raise ConfigError(f"{wrong}; write it like {self.example}")
        low, high = (self._number(part, text) for part in parts)
        if low > high:
            raise ConfigError(f"the {self.what} range {text!r} is reversed; write {parts[1]}:{parts[0]}")
        found = CostRange(self._whole(low, ROUND_CEILING), self._whole(high, ROUND_FLOOR))
        if found.low > found.high:
            raise ConfigError(
                f"the {self.what} range {text!r} is so narrow that no whole number of {self.atom} lies in it; widen it"
            )
        return found

    def _number(self, part: str, text: str) -> Decimal:
        part = part.strip()
        try:
            if len(part) > 60 or "_" in part:
                raise decimal.InvalidOperation
            value = Decimal(part)
        except decimal.InvalidOperation:
            raise ConfigError(
                f"{part[:60]!r} in the {self.what} range {text[:80]!r} is not a number; write it like {self.example}"
            ) from None
        if not value.is_finite() or value < 0 or value > _MOST:
            raise ConfigError(
                f"{part!r} in the {self.what} range {text!r} is not a number of {self.name} from 0 to 1e9"
            )
        return value

    def _whole(self, value: Decimal, rounding: str) -> int:
        return int(_EXACT.multiply(value, Decimal(self.size)).to_integral_value(rounding))


GFLOPS = Quantity("FLOPs", "GFLOPs", "MACs", 10**9, "1.37:1.43")
MILLISECONDS = Quantity("latency", "ms", "nanoseconds", 10**6, "20:25")


def gflops(macs: int, rounding: str = ROUND_HALF_EVEN, digits: int = 12) -> str:
    """`macs` in GFLOPs as plain decimal text without trailing zeros, to `digits` significant digits."""
    return GFLOPS.text(macs, rounding, digits)


def parse_gflops(text: str) -> CostRange:
    """Reads "MIN:MAX" in GFLOPs, exactly. Raises ConfigError (see `Quantity.parse`)."""
    return GFLOPS.parse(text)
