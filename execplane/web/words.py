"""Times, durations, sizes and states in words. Pure, so that pages and fragments say the same."""

from __future__ import annotations

from datetime import UTC, datetime

STATE_LABELS = {
    "none": "no status",
    "up_for_retry": "up for retry",
    "up_for_reschedule": "up for reschedule",
    "upstream_failed": "upstream failed",
}


def state_label(state: str) -> str:
    return STATE_LABELS.get(state, state.replace("_", " "))


def duration(seconds: float | None) -> str:
    """1.2 s, 42 s, 3 min 5 s, 2 h 4 min, 3 d 4 h; "" for None."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, lower_size, lower in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // lower_size
            return f"{whole // size} {unit} {rest} {lower}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def between(start: datetime | None, end: datetime | None, now: datetime) -> float | None:
    """Seconds from start to end, to now when it has not ended; None before the start."""
    return None if start is None else ((end or now) - start).total_seconds()


def ago(moment: datetime, now: datetime) -> str:
    """ "3 min ago", "in 2 h", "now": one unit, because more is noise in a list."""
    seconds = (now - moment).total_seconds()
    size = abs(seconds)
    if size < 1:
        return "now"
    for unit_seconds, unit in ((86400 * 365, "y"), (86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if size >= unit_seconds:
            text = f"{int(size // unit_seconds)} {unit}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return "now"


def stamp(moment: datetime) -> str:
    """UTC, to the second: what every page shows."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def size(count: int | None) -> str:
    """Bytes in binary units."""
    if count is None:
        return ""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" or value >= 100 else f"{value:.1f} {units[0]}"
