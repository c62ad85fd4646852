"""Formats seconds as hours, minutes and seconds."""

from __future__ import annotations


def clock(seconds: float, *, mark: str = ".", digits: int = 3, hours: int = 2) -> str:
    """Format seconds as hh:mm:ss.fff, rounded. mark: the decimal point; digits: decimals, 0 for none; hours: minimum
    digits of the hours."""
    ticks = round(max(seconds, 0.0) * 10**digits)
    whole, part = divmod(ticks, 10**digits)
    rest = f"{mark}{part:0{digits}}" if digits else ""
    return f"{whole // 3600:0{hours}}:{whole // 60 % 60:02}:{whole % 60:02}{rest}"


def short_clock(seconds: float) -> str:
    """Format seconds as h:mm:ss.ff, for tables."""
    return clock(seconds, digits=2, hours=1)
