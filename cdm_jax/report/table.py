"""Summary rows as the table that a reader compares."""

import math

COLUMNS = {
    "method": ("method", str),
    "Dice (mean ± std)": ("dice", lambda row: f"{row['dice']:.3f} ± {row['dice_std']:.3f}"),
    "best Dice": ("best_dice", "{:.3f}"),
    "AUPRC": ("auprc", "{:.3f}"),
    "AUROC": ("auroc", "{:.3f}"),
    "healthy voxels marked (%)": ("healthy_false_positive_share", lambda row: percent(row)),
    "healthy L1": ("healthy_l1", "{:.4f}"),
    "s / volume": ("seconds", "{:.2f}"),
}


def percent(row: dict) -> str:
    return f"{100 * row['healthy_false_positive_share']:.2f}"


def markdown(rows: list[dict]) -> str:
    """The rows as a markdown table with aligned columns; a number that is not defined reads "-"."""
    seeds = len({row["seed"] for row in rows}) > 1
    header = list(COLUMNS) + (["seed"] if seeds else [])
    lines = [[_cell(row, name) for name in COLUMNS] + ([str(row["seed"])] if seeds else []) for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    table = [header, ["-" * width for width in widths], *lines]
    return "".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |\n"
        for line in table
    )


def _cell(row: dict, name: str) -> str:
    key, form = COLUMNS[name]
    if isinstance(row[key], float) and math.isnan(row[key]):
        return "-"
    if callable(form):
        return form(row) if form is not str else str(row[key])
    return form.format(row[key])
