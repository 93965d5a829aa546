"""A range of cost, as `--flops 1.37:1.43` gives it. Cost is MACs; GFLOPs means 1e9 MACs."""

import decimal
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

from autovid.errors import ConfigError

_GIGA = Decimal(10**9)
_MOST = Decimal(10**9)  # GFLOPs; 1e18 MACs still fit into int64
_EXACT = decimal.Context(prec=120)  # enough for every product of two numbers of 60 digits


def gflops(macs: int, rounding: str = ROUND_HALF_EVEN, digits: int = 12) -> str:
    """`macs` in GFLOPs as plain decimal text without trailing zeros, to `digits` significant digits."""
    value = decimal.Context(prec=digits, rounding=rounding).divide(Decimal(macs), _GIGA)
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


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
        return f"{gflops(self.low)}–{gflops(self.high)} GFLOPs"


def parse_gflops(text: str) -> CostRange:
    """Read "MIN:MAX" in GFLOPs, exactly ("1.37:1.43" is 1,370,000,000 to 1,430,000,000 MACs); MIN = MAX is allowed.

    Raises:
        ConfigError: not two finite, non-negative decimal numbers in rising order, or no whole MAC between them.
    """
    parts = text.split(":")
    if len(parts) != 2:
        raise ConfigError(f"the FLOPs range {text[:80]!r} is not MIN:MAX in GFLOPs; write it like 1.37:1.43")
    low, high = (_number(part, text) for part in parts)
    if low > high:
        raise ConfigError(f"the FLOPs range {text!r} is reversed; write {parts[1]}:{parts[0]}")
    macs = CostRange(_macs(low, ROUND_CEILING), _macs(high, ROUND_FLOOR))
    if macs.low > macs.high:
        raise ConfigError(f"the FLOPs range {text!r} is so narrow that no whole number of MACs lies in it; widen it")
    return macs


def _number(part: str, text: str) -> Decimal:
    part = part.strip()
    try:
        if len(part) > 60 or "_" in part:
            raise decimal.InvalidOperation
        value = Decimal(part)
    except decimal.InvalidOperation:
        raise ConfigError(
            f"{part[:60]!r} in the FLOPs range {text[:80]!r} is not a number; write it like 1.37:1.43"
        ) from None
    if not value.is_finite() or value < 0 or value > _MOST:
        raise ConfigError(f"{part!r} in the FLOPs range {text!r} is not a number of GFLOPs from 0 to 1e9")
    return value


def _macs(value: Decimal, rounding: str) -> int:
    return int(_EXACT.multiply(value, _GIGA).to_integral_value(rounding))
