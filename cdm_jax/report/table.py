"""Summary rows as the table that a reader compares."""

import math
from collections.abc import Callable

COLUMNS: dict[str, tuple[str, Callable[[dict], str]]] = {
    "method": ("method", lambda row: row["method"]),
    "Dice (mean ± std)": ("dice", lambda row: f"{row['dice']:.3f} ± {row['dice_std']:.3f}"),
    "best Dice": ("best_dice", lambda row: f"{row['best_dice']:.3f}"),
    "AUPRC": ("auprc", lambda row: f"{row['auprc']:.3f}"),
    "AUROC": ("auroc", lambda row: f"{row['auroc']:.3f}"),
    "healthy marked (%)": (
        "healthy_false_positive_share",
        lambda row: f"{100 * row['healthy_false_positive_share']:.2f}",
    ),
    "healthy L1": ("healthy_l1", lambda row: f"{row['healthy_l1']:.4f}"),
    "s / volume": ("seconds", lambda row: f"{row['seconds']:.2f}"),
    "seed": ("seed", lambda row: str(row["seed"])),
}
"""Heading -> (key of the row, how its cell reads)."""

METHOD_COLUMNS = {
    name: COLUMNS[name] for name in ("method", "Dice (mean ± std)", "AUPRC", "healthy marked (%)")
} | {
    "s / volume": COLUMNS["s / volume"],
    "parameters": (
        "parameters",
        lambda row: f"{row['parameters'] / 1e6:.2f} M" if row["parameters"] else "-",
    ),
    "seed": COLUMNS["seed"],
}
"""What a comparison of methods shows."""


def markdown(rows: list[dict], columns: dict = COLUMNS) -> str:
    """The rows as a markdown table with aligned columns; a number that is not defined reads "-"."""
    lines = [list(columns), *([_cell(row, *column) for column in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |\n"
        for line in lines
    )


def _cell(row: dict, key: str, form: Callable[[dict], str]) -> str:
    undefined = isinstance(row[key], float) and math.isnan(row[key])
    return "-" if undefined else form(row)
