"""Numbers as text: with a minus sign, and an en dash for a missing number."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flat_dist.evaluation.significance import Interval

DASH = "–"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def fixed(value: float | None, digits: int = 2) -> str:
    """A number with a fixed number of decimals."""
    return DASH if _missing(value) else _minus(f"{value:,.{digits}f}")


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] in percent, without the percent sign."""
    return DASH if share is None or _missing(share) else fixed(100 * share, digits)


def significant(value: float | None, digits: int = 2) -> str:
    """A number of any size with a number of significant digits: 0.0012, 3.4 × 10⁻⁸."""
    if value is None or _missing(value):
        return DASH
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return _minus(f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}")
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{_minus(mantissa)} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def spread(share: float, interval: "Interval") -> str:
    """What follows a share in percent, after a space: plus or minus half of the width of its interval, or, where the
    share is an end of the interval, the other end."""
    if share <= interval.low:
        return f" (to {percent(interval.high)})"
    if share >= interval.high:
        return f" (from {percent(interval.low)})"
    return f" ± {percent(interval.half_width)}"


def standard_error(share: float | None, n: int) -> float | None:
    """Standard error of a share of n examples, sqrt(p (1 - p) / n); None for no examples."""
    return None if share is None or n < 1 or _missing(share) else math.sqrt(share * (1 - share) / n)


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _minus(text: str) -> str:
    return text.replace("-", "−")
