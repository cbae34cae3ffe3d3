"""How fast do the two sides train, at a glance?"""

from pathlib import Path

from speed.chart import OURS, TORCH
from speed.report import Row, captions

from cdm_jax.report.figure import new_figure, save
from training.report import described


def draw_chart(path: Path, rows: list[Row]) -> None:
    """Slices a second, a pair of bars for each row; the whiskers go to the slowest and the fastest tenth of steps."""
    heading = captions(rows)
    figure = new_figure(10, 1.6 + 0.2 * len(heading) + 0.75 * len(rows))
    axis = figure.subplots()
    for place, row in enumerate(rows):
        bar(axis, place - 0.2, row, "", OURS, ours_note(row))
        if "torch_p50_s" in row:
            bar(axis, place + 0.2, row, "torch_", TORCH, f"torch {row['torch']}")
    axis.set_yticks(range(len(rows)), [described(row) for row in rows])
    axis.invert_yaxis()
    fastest = (row["batch"] / row[key] for row in rows for key in ("p10_s", "torch_p10_s") if key in row)
    axis.set_xlim(0, 1.6 * max(fastest))
    axis.set_xlabel("slices a second, by the median step; whiskers: 10th and 90th percentile")
    axis.spines[["top", "right"]].set_visible(False)
    for name, colour in (("ours (JAX)", OURS), ("torch reference", TORCH)):
        axis.bar(0, 0, color=colour, label=name)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    figure.suptitle("\n".join(heading), fontsize=8, color="0.35")
    save(figure, path)


def bar(axis, place: float, row: Row, side: str, colour: str, note: str) -> None:
    middle = row[f"{side}slices_per_s"]
    slow, fast = (row["batch"] / row[f"{side}{rank}_s"] for rank in ("p90", "p10"))
    whiskers = [[max(0.0, middle - slow)], [max(0.0, fast - middle)]]
    axis.barh(place, middle, 0.36, color=colour, xerr=whiskers, error_kw={"ecolor": "0.3", "lw": 1})
    text = f"{middle:.3g} slices/s, {note}"
    axis.annotate(text, (fast, place), (4, 0), textcoords="offset points", va="center", fontsize=8)


def ours_note(row: Row) -> str:
    words = [f"{row['percent_of_peak']:.0f} % of matrix peak"]
    words += [f"{row['times_faster_than_torch']:.2f} times torch"] if "torch_p50_s" in row else []
    return ", ".join(words + ([row["status"]] if row["status"] != "ok" else []))
