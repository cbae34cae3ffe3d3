"""How do the two sides compare at a glance?"""

from pathlib import Path
from typing import Any

from cdm_jax.report.figure import new_figure, save
from speed.report import captions, described

OURS, TORCH = "#1f6fb4", "#e08a2c"
WIDE = 30
"""Ratio of the longest bar to the shortest above which the axis is logarithmic."""


def draw_chart(path: Path, rows: list[dict[str, Any]]) -> None:
    """Seconds a volume, a pair of bars for each row, with how many times faster ours is."""
    heading = captions(rows)
    figure = new_figure(10, 1.4 + 0.2 * len(heading) + 0.75 * len(rows))
    axis = figure.subplots()
    times = [row[key] for row in rows for key in ("seconds", "torch_seconds") if key in row]
    wide = max(times) > WIDE * min(times)
    for place, row in enumerate(rows):
        _bar(
            axis,
            place - 0.2,
            row["seconds"],
            row["seconds_iqr"],
            OURS,
            f"{row['seconds']:.3g} s{_verdict(row)}",
        )
        if "torch_seconds" in row:
            _bar(axis, place + 0.2, row["torch_seconds"], row["torch_seconds_iqr"], TORCH,
                 f"{row['torch_seconds']:.3g} s, torch {row['torch']}")  # fmt: skip
    axis.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axis.invert_yaxis()
    if wide:
        axis.set(xscale="log", xlim=(min(times) / 2, max(times) * 8))
    else:
        axis.set(xlim=(0, max(times) * 1.4))
    axis.set_xlabel("seconds a volume, median and quartile distance" + (" (logarithmic)" if wide else ""))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(handles=_legend(), loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    figure.suptitle("\n".join(heading), fontsize=8, color="0.35")
    save(figure, path)


def _bar(axis, place: float, seconds: float, iqr: float, colour: str, text: str) -> None:
    axis.barh(place, seconds, 0.36, color=colour, xerr=iqr / 2, error_kw={"ecolor": "0.3", "lw": 1})
    axis.annotate(
        text, (seconds + iqr / 2, place), (4, 0), textcoords="offset points", va="center", fontsize=8
    )


def _verdict(row: dict[str, Any]) -> str:
    ratio = f", {row['times_faster_than_torch']:.2f} times as fast" if "torch_seconds" in row else ""
    return ratio + ("" if row["status"] == "ok" else f", {row['status']}")


def _label(row: dict[str, Any]) -> str:
    place = f"{row['devices']} devices ({row['parallel']})" if row["devices"] > 1 else row["parallel"]
    return f"{described(row)}\n{row['preset']}, {row['dtype']}, {row['convolution']}, batch {row['batch']}, {place}"


def _legend() -> list:
    from matplotlib.patches import Patch

    return [Patch(color=OURS, label="ours (JAX)"), Patch(color=TORCH, label="torch reference")]
