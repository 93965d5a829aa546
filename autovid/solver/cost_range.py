"""Ranges of cost, as `--flops 1.37:1.43` gives one, and the quantities that are counted.

A cost is a whole number of atoms: MACs, of which 1e9 are one GFLOPs, or nanoseconds, of which 1e6 are one ms.
"""

import decimal
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autovid.errors import ConfigError

Ints = NDArray[np.int64]
UNLIMITED = 2**62  # the upper end of a range that has none
_MOST = Decimal(10**9)  # units; of 1e9 atoms each they still fit into int64
_EXACT = decimal.Context(prec=120)  # enough for every product of two numbers of 60 digits
_MARGIN = 100  # an end without a partner is moved inwards by a hundredth of itself, see `CostRange.middle`


class CostRange(NamedTuple):
    """Costs with `low` <= cost <= `high`, both ends included; 0 and UNLIMITED are ends that limit nothing."""

    low: int
    high: int

    def scaled(self, fraction: float) -> "CostRange":
        """Return the range of a part of the network that may use `fraction` of the cost, rounded to whole atoms."""
        part = Decimal(str(fraction))

        def scaled_end(end: int) -> int:
            return int(_EXACT.multiply(Decimal(end), part).to_integral_value(ROUND_HALF_EVEN))

        return CostRange(scaled_end(self.low), self.high if self.high == UNLIMITED else scaled_end(self.high))

    def shifted(self, cost: int) -> "CostRange":
        """Return the range of the rest where `cost` is used already."""
        return CostRange(self.low - cost, self.high if self.high == UNLIMITED else self.high - cost)

    def middle(self) -> "CostRange":
        """Return the middle half of the range; of a range with one end what is more than 1 % inside."""
        if self.high == UNLIMITED:
            return CostRange(self.low + self.low // _MARGIN, UNLIMITED)
        if self.low == 0:
            return CostRange(0, self.high - self.high // _MARGIN)
        quarter = (self.high - self.low) // 4
        return CostRange(self.low + quarter, self.high - quarter)

    def holds(self, costs: Ints) -> NDArray[np.bool_]:
        """Return True for each cost that lies in the range."""
        return np.asarray((costs >= self.low) & (costs <= self.high))


class Quantity(NamedTuple):
    """A counted quantity: `atoms` of its `atom` (MACs) are one `unit` (GFLOPs), which people read and type."""

    what: str
    unit: str
    atom: str
    atoms: int
    example: str

    def text(self, cost: int, rounding: str = ROUND_HALF_EVEN, digits: int = 12) -> str:
        """Return a cost as plain decimal text without trailing zeros, to `digits` significant digits."""
        value = decimal.Context(prec=digits, rounding=rounding).divide(Decimal(cost), Decimal(self.atoms))
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    def say(self, low: int, high: int) -> str:
        """ "1.37–1.43 GFLOPs", "at most 1.43 GFLOPs", "at least 1.37 GFLOPs"."""
        if high >= UNLIMITED:
            return f"at least {self.text(low)} {self.unit}"
        if low <= 0 < high:
            return f"at most {self.text(high)} {self.unit}"
        return f"{self.text(low)}–{self.text(high)} {self.unit}"

    def write(self, ends: CostRange) -> str:
        """Return a range as it is typed, exact: `parse` gives the same one back."""
        low = self.text(ends.low, digits=40) if ends.low else ""
        high = self.text(ends.high, digits=40) if ends.high != UNLIMITED else ""
        return f"{low}:{high}" if low or high else "0:"

    def parse(self, text: str) -> CostRange:
        """Read "MIN:MAX" exactly ("1.37:1.43" GFLOPs is 1,370,000,000 to 1,430,000,000 MACs); MIN = MAX is allowed.

        One end may be left out: ":1.43", "1.37:".

        Raises:
            ConfigError: not one or two finite, non-negative decimal numbers, two of them in rising order, or no whole
                number between them.
        """
        ends = [end.strip() for end in text.split(":")]
        if len(ends) != 2 or not any(ends):
            wrong = f"the {self.what} range {text[:80]!r} is not MIN:MAX in {self.unit}"
            raise ConfigError(f"{wrong}; write it like {self.example}, with one end :MAX or MIN:")
        low = self._number(ends[0], text) if ends[0] else Decimal(0)
        high = self._number(ends[1], text) if ends[1] else None
        if high is None:
            return CostRange(self._whole(low, ROUND_CEILING), UNLIMITED)
        if low > high:
            raise ConfigError(f"the {self.what} range {text!r} is reversed; write {ends[1]}:{ends[0]}")
        parsed = CostRange(self._whole(low, ROUND_CEILING), self._whole(high, ROUND_FLOOR))
        if parsed.low > parsed.high:
            raise ConfigError(
                f"the {self.what} range {text!r} is so narrow that no whole number of {self.atom} lies in it; widen it"
            )
        return parsed

    def _number(self, part: str, text: str) -> Decimal:
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
                f"{part!r} in the {self.what} range {text!r} is not a number of {self.unit} from 0 to 1e9"
            )
        return value

    def _whole(self, value: Decimal, rounding: str) -> int:
        return int(_EXACT.multiply(value, Decimal(self.atoms)).to_integral_value(rounding))


PLAIN = Quantity("cost", "atoms", "atoms", 1, "137:143")  # of a table that does not say what it counts
