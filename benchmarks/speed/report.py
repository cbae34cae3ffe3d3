"""What do the rows of sample_speed.py look like to a reader?"""

from collections.abc import Callable
from pathlib import Path

from speed.rows import Row, write_table_and_chart


def pair(value: str, spread: str) -> Callable[[Row], str]:
    """ "median ± IQR" of a row, in seconds."""
    return lambda row: f"{row[value]:.3g} ± {row[spread]:.1g}"


def number(key: str, form: str = ".3g") -> Callable[[Row], str]:
    return lambda row: format(row[key], form)


COLUMNS: dict[str, Callable[[Row], str]] = {
    "preset": lambda row: row["preset"],
    "sampler": lambda row: described(row),
    "dtype": lambda row: row["dtype"],
    "convolution": lambda row: row["convolution"],
    "batch": lambda row: str(row["batch"]),
    "devices": lambda row: f"{row['devices']} ({row['parallel']})",
    "slices": lambda row: str(row["slices"]),
    "NFE": lambda row: str(row["evaluations"]),
    "ours, s a volume": pair("seconds", "seconds_iqr"),
    "torch": lambda row: row["torch"],
    "torch, s a volume": pair("torch_seconds", "torch_seconds_iqr"),
    "times faster than torch": number("times_faster_than_torch", ".2f"),
    "slices/s": number("slices_per_s"),
    "TFLOP/s": number("tflops"),
    "% of matrix peak": number("percent_of_peak", ".0f"),
    "compile, s": number("compile_s"),
    "torch compile, s": number("torch_compile_s"),
    "largest diff": number("largest_difference", ".1e"),
    "mean diff": number("mean_difference", ".1e"),
    "peak memory, GB": number("peak_memory_gb"),
    "status": lambda row: row["status"],
}
"""Heading -> how its cell reads; one that the row has no value for reads "-"."""


def markdown(rows: list[Row]) -> str:
    """The rows as an aligned markdown table, over a line on the input and the machine, and errors below."""
    lines = [list(COLUMNS), *([cell(row, form) for form in COLUMNS.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    table = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    errors = [f"{described(row)}, {row['dtype']}: {row['error']}" for row in rows if "error" in row]
    return "\n".join([*captions(rows), "", *table, *(["", *errors] if errors else [])]) + "\n"


def cell(row: Row, form: Callable[[Row], str]) -> str:
    try:
        return form(row)
    except (KeyError, TypeError):  # not measured: a failed cell, or no torch beside it
        return "-"


def described(row: Row) -> str:
    """ "ddim from 500 in 50 steps", whatever of it the sampler has."""
    settings = row["settings"]
    levels = settings.get("t_starts", [settings.get("t_start")])
    words = [row["sampler"]]
    if "visits" in settings:
        words.append(f"along {len(settings['visits'])} levels")
    elif levels != [None]:
        words.append(f"from {', '.join(map(str, levels))}")
    if settings.get("steps") and "visits" not in settings:
        words.append(f"in {settings['steps']} steps")
    if settings.get("draws", 1) > 1:
        words.append(f"x {settings['draws']} draws")
    if settings.get("eta"):
        words.append(f"eta {settings['eta']:g}")
    return " ".join(words)


def captions(rows: list[Row]) -> list[str]:
    """One line for each machine, day and input among the rows."""
    return list(dict.fromkeys(caption(row) for row in rows))


def caption(row: Row) -> str:
    found = row["environment"]
    versions = f"jax {found['versions']['jax']}, torch {found['torch']}"
    device = found["devices"][0] if found["backend"] != "cpu" else found["processor"] or "CPU"
    threads = f"{found['threads']} threads"
    return f"{found['time'][:10]}, {device}, {threads}, {versions}; {row.get('input', 'no input')}"


def write_report(stem: Path, rows: list[Row]) -> list[Path]:
    """Write `stem`.md and, where matplotlib is installed and a row was measured, `stem`.png; returns them."""
    try:
        from speed.chart import draw_chart as draw
    except ImportError:
        draw = None
    return write_table_and_chart(stem, markdown(rows), [row for row in rows if "seconds" in row], draw)
