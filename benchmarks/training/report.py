"""What do the rows of train_speed.py look like to a reader?"""

from collections.abc import Callable
from pathlib import Path

from speed.report import captions, cell, number
from speed.rows import Row, write_table_and_chart


def milliseconds(prefix: str = "") -> Callable[[Row], str]:
    """ "p10 / p50 / p90 / p99" of a side's step."""
    return lambda row: " / ".join(f"{1e3 * row[f'{prefix}p{rank}_s']:.3g}" for rank in (10, 50, 90, 99))


COLUMNS: dict[str, Callable[[Row], str]] = {
    "preset": lambda row: row["preset"],
    "step": lambda row: row["work"],
    "dtype": lambda row: row["dtype"],
    "batch": lambda row: str(row["batch"]),
    "pieces": lambda row: str(row["accumulate"]),
    "remat": lambda row: "yes" if row["remat"] else "no",
    "devices": lambda row: str(row["devices"]) + (f" (fsdp {row['fsdp']})" if row["fsdp"] > 1 else ""),
    "steps": lambda row: str(row["rounds"] * row["steps"]),
    "ours, ms a step: p10 / 50 / 90 / 99": milliseconds(),
    "torch": lambda row: row["torch"],
    "torch, ms a step": milliseconds("torch_"),
    "times faster than torch": lambda row: (
        f"{row['times_faster_than_torch']:.2f} ± {row['times_faster_iqr']:.1g}"
    ),
    "slices/s": number("slices_per_s"),
    "torch, slices/s": number("torch_slices_per_s"),
    "TFLOP/s": number("tflops"),
    "% of matrix peak": number("percent_of_peak", ".0f"),
    "% waiting for input": number("percent_waiting", ".2f"),
    "check, % of a step": lambda row: f"{row['check_percent']:.2f} ± {row['check_percent_iqr']:.1g}",
    "check alone, %": lambda row: f"{row['check_alone_percent']:.2f}",
    "compile, s": number("compile_s"),
    "torch compile, s": number("torch_compile_s"),
    "program, GB": number("program_total_gb"),
    "peak memory, GB": number("peak_memory_gb"),
    "torch peak, GB": number("torch_peak_memory_gb"),
    "loss diff": number("loss_difference", ".1e"),
    "gradient diff": number("grad_norm_difference", ".1e"),
    "status": lambda row: row["status"],
}
"""Heading -> how its cell reads; one that the row has no value for reads "-", a column without any is left out."""

NOTE = (
    "± is the distance between the quartiles of the rounds' ratios. program: what the compiled step holds on one "
    "device. peak memory: all that the process has held so far, on a GPU all that jax has."
)


def markdown(rows: list[Row]) -> str:
    """The rows as an aligned markdown table, over a line on the input and the machine, and errors below."""
    columns = [[heading, *(cell(row, form) for row in rows)] for heading, form in COLUMNS.items()]
    shown = [column for column in columns if set(column[1:]) != {"-"}]
    padded = [[text.ljust(max(map(len, column))) for text in column] for column in shown]
    lines = ["| " + " | ".join(line) + " |" for line in zip(*padded, strict=True)]
    lines.insert(1, "| " + " | ".join("-" * len(column[0]) for column in padded) + " |")
    errors = [f"{described(row)}: {row['error']}" for row in rows if "error" in row]
    return "\n".join([*captions(rows), "", *lines, "", NOTE, *(["", *errors] if errors else [])]) + "\n"


def described(row: Row) -> str:
    """ "paper, float32, batch 32 in 4 pieces, remat, 8 devices (fsdp 2), torch eager", whatever of it there is."""
    words = [row["preset"], row["dtype"], f"batch {row['batch']}"]
    words[-1] += f" in {row['accumulate']} pieces" if row["accumulate"] > 1 else ""
    words += ["all that training does"] if row["work"] == "full" else []
    words += ["remat"] if row["remat"] else []
    if row["devices"] > 1:
        words.append(f"{row['devices']} devices" + (f" (fsdp {row['fsdp']})" if row["fsdp"] > 1 else ""))
    return ", ".join(words + ([f"torch {row['torch']}"] if row["torch"] != "off" else []))


def write_report(stem: Path, rows: list[Row]) -> list[Path]:
    """Write `stem`.md and, where matplotlib is installed and a row was measured, `stem`.png; returns them."""
    try:
        from training.chart import draw_chart as draw
    except ImportError:
        draw = None
    return write_table_and_chart(stem, markdown(rows), [row for row in rows if "p50_s" in row], draw)
