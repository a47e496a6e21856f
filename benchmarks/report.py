"""What a benchmark found: rows judged against a target, as a table and as JSON."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a figure, in the figure's unit."""

    kind: Literal[">=", "<="]
    value: float

    def holds(self, measured: float) -> bool:
        """Say whether a figure keeps to it; equality does."""
        return measured >= self.value if self.kind == ">=" else measured <= self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: what was measured in each round, and what its median is held against."""

    name: str
    values: Sequence[float]
    """One for each round, at least one: a ratio gateway / uvicorn, or the figure itself."""

    unit: str
    """`x` for a ratio."""

    target: Target | None = None
    """None: for information."""

    gateway: Sequence[float] = ()
    uvicorn: Sequence[float] = ()
    """Where `values` are ratios: the figures they are of, round by round, in `absolute_unit`."""

    absolute_unit: str = ""
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    """More figures, for the JSON alone."""

    @property
    def measured(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool | None:
        """Whether the target holds; None without one."""
        return None if self.target is None else self.target.holds(self.measured)

    def as_json(self) -> dict[str, Any]:
        """Return everything in types of JSON."""
        return {
            "name": self.name,
            "target": f"{self.target.kind} {self.target.value}" if self.target else None,
            "measured": self.measured,
            "unit": self.unit,
            "holds": self.holds,
            "values": list(self.values),
            "gateway": list(self.gateway),
            "uvicorn": list(self.uvicorn),
            "absolute_unit": self.absolute_unit,
            "note": self.note,
            "details": self.details,
        }


def ratio_row(
    name: str,
    gateway: Sequence[float],
    uvicorn: Sequence[float],
    *,
    unit: str,
    target: Target | None = None,
) -> Row:
    """Compare figures that were taken in turn: the median is of the ratios of each round.

    Two figures of one round saw the same machine; the ratio of two medians would compare a quiet
    moment of one with a busy moment of the other.
    """
    return Row(
        name=name,
        values=[ours / theirs for ours, theirs in zip(gateway, uvicorn, strict=True)],
        unit="x",
        target=target,
        gateway=gateway,
        uvicorn=uvicorn,
        absolute_unit=unit,
    )


def cpu_row(
    name: str,
    gateway: Sequence[Mapping[str, float]],
    uvicorn: Sequence[Mapping[str, float]],
    *,
    target: Target | None = None,
) -> Row:
    """Compare CPU times in µs, given by part in each round; the row names the gateway's parts."""
    row = ratio_row(
        name,
        [sum(parts.values()) for parts in gateway],
        [sum(parts.values()) for parts in uvicorn],
        unit="µs",
        target=target,
    )
    by_part = {part: statistics.median(one[part] for one in gateway) for part in gateway[0]}
    note = ", ".join(f"{part} {figure(median)}" for part, median in by_part.items())
    return replace(row, note=note, details={"gateway_us_by_part": by_part})


def table(rows: Sequence[Row], sides: tuple[str, str] = ("gateway", "uvicorn")) -> str:
    """Return a Markdown table of the rows, aligned so that it reads well on a terminal too."""
    cells = [("figure", "target", "measured", "min - max", *sides, "holds")]
    cells += [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(map(str.ljust, line, widths)) for line in cells]
    lines.insert(1, "-|-".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _cells(row: Row) -> tuple[str, str, str, str, str, str, str]:
    name = f"{row.name} ({row.note})" if row.note else row.name
    target = f"{row.target.kind} {row.target.value:g} {row.unit}" if row.target else ""
    spread = f"{figure(min(row.values))} - {figure(max(row.values))}"
    holds = {True: "yes", False: "NO", None: ""}[row.holds]
    return (
        name,
        target,
        f"{figure(row.measured)} {row.unit}",
        spread if len(row.values) > 1 else "",
        _absolute(row.gateway, row.absolute_unit),
        _absolute(row.uvicorn, row.absolute_unit),
        holds,
    )


def _absolute(values: Sequence[float], unit: str) -> str:
    return f"{figure(statistics.median(values))} {unit}" if values else ""


def figure(value: float) -> str:
    """Return a number with three significant digits, thousands separated."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    decimals = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{decimals}f}"
