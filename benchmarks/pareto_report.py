"""What do the rows of `sampler_pareto.py` say: as a table, as a plot, as an answer?"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from cdm_jax.report.figure import new_figure, save

TOLERANCE = 0.01  # of AUPRC, within which a sampler counts as good as the ancestral one
LEAST_PATIENTS = 5  # with fewer, all differences have one sign too often for an interval to mean anything
RESAMPLES = 10_000
COSTS = {"nfe": "evaluations a slice", "seconds": "seconds a volume"}
GOODS = {"auprc": (1, "AUPRC (test patients)"), "healthy_l1": (-1, "healthy residual (L1)")}
"""Quality -> (1 if more is better, else -1; how an axis names it)."""
PANELS = (("nfe", "auprc"), ("seconds", "auprc"), ("nfe", "healthy_l1"))
NOT_ITERATED = ("single_step", "ensemble")


def name(row: dict) -> str:
    steps = f", {row['steps']} steps" if row["steps"] else ""
    return f"{row['family']} t {row['t_start']}{steps}"


def front(cost: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """Which points [N] no other beats, bool [N]: none is at most as dear, at least as good, and not the same."""
    cost, quality = np.asarray(cost), np.asarray(quality)
    no_worse = (cost[:, None] <= cost) & (quality[:, None] >= quality)
    better = (cost[:, None] < cost) | (quality[:, None] > quality)
    return ~np.any(no_worse & better, axis=0)


def paired_interval(of: dict[str, float], reference: dict[str, float], seed: int = 0):
    """(mean difference, low, high) over the patients that both have; a percentile bootstrap of 95 %.

    low and high are None with fewer than LEAST_PATIENTS. Source: Efron and Tibshirani 1993, chapter 13.
    """
    shared = sorted(of.keys() & reference.keys())
    if not shared:
        return None, None, None
    differences = np.array([of[patient] - reference[patient] for patient in shared])
    if len(shared) < LEAST_PATIENTS:
        return float(differences.mean()), None, None
    drawn = np.random.default_rng(seed).integers(len(shared), size=(RESAMPLES, len(shared)))
    low, high = np.percentile(differences[drawn].mean(axis=1), (2.5, 97.5))
    return float(differences.mean()), float(low), float(high)


def compared(rows: list[dict]) -> list[dict]:
    """The rows by level and cost, each with its AUPRC "difference" to the single step at its t_start.

    Adds {"difference", "low", "high"} (None without a single step to compare with) and "front": names of those
    pairs of PANELS whose front the row stands on.
    """
    singles = {row["t_start"]: row["auprc_of"] for row in rows if row["family"] == "single_step"}
    rows = sorted(rows, key=lambda row: (row["t_start"], row["nfe"], row["family"]))
    on = {panel: front(*_columns(rows, *panel)) for panel in PANELS}
    out = []
    for number, row in enumerate(rows):
        keys = ("difference", "low", "high")
        found = paired_interval(row["auprc_of"], singles.get(row["t_start"], {}))
        fronts = [f"{quality} / {cost}" for (cost, quality), members in on.items() if members[number]]
        out.append(row | dict(zip(keys, found, strict=True)) | {"front": fronts})
    return out


def _columns(rows: list[dict], cost: str, quality: str) -> tuple[np.ndarray, np.ndarray]:
    """Cost and quality of the rows, more of the latter being better."""
    sign, _ = GOODS[quality]
    return np.array([row[cost] for row in rows]), sign * np.array([row[quality] for row in rows])


def table(rows: list[dict]) -> str:
    """The compared rows as a markdown table."""
    heads = ("sampler", "evaluations", "s / volume", "Dice", "best Dice", "AUPRC", "AUROC", "healthy L1",
             "AUPRC against the single step (95 %)", "on the front of")  # fmt: skip
    lines = [heads, ["---"] + ["---:"] * 7 + ["---"] * 2]
    for row in rows:
        numbers = [f"{row[key]:.3f}" for key in ("dice", "best_dice", "auprc", "auroc")]
        lines.append([name(row), str(row["nfe"]), f"{row['seconds']:.2f}", *numbers, f"{row['healthy_l1']:.4f}",
                      _difference(row), ", ".join(row["front"])])  # fmt: skip
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _difference(row: dict) -> str:
    if row["difference"] is None or row["family"] == "single_step":
        return "-"
    interval = "" if row["low"] is None else f" [{row['low']:+.3f}, {row['high']:+.3f}]"
    return f"{row['difference']:+.3f}{interval}"


def answer(rows: list[dict]) -> str:
    """What the compared rows say to the two questions, in markdown."""
    levels = sorted({row["t_start"] for row in rows})
    of_level = {level: [row for row in rows if row["t_start"] == level] for level in levels}
    beats = [f"- t_start {level}: {_iterating(of_level[level])}" for level in levels]
    reach = [f"- t_start {level}: {_fewest(of_level[level])}" for level in levels]
    patients = max(len(row["auprc_of"]) for row in rows)
    return "\n".join([
        "**Does iterating beat the single step?** It does where the whole 95 % interval of the AUPRC difference",
        f"lies above 0 (paired bootstrap, patients: {patients}; the rows are many and not corrected for that).",
        "", *beats, "",
        "**Which sampler reaches ancestral quality in the fewest evaluations?** Reached is an AUPRC at most",
        f"{TOLERANCE} below that of ddpm from the same t_start.", "", *reach, "",
    ])  # fmt: skip


def _iterating(rows: list[dict]) -> str:
    """Of one t_start."""
    single = next((row for row in rows if row["family"] == "single_step"), None)
    iterated = [row for row in rows if row["family"] not in NOT_ITERATED and row["nfe"] > 1]
    if single is None or not iterated:
        return "not asked (needs single_step and an iterated sampler)."
    best = max(iterated, key=lambda row: row["auprc"])
    ensemble = next((row for row in rows if row["family"] == "ensemble"), None)
    verdict = _verdict(iterated)
    told = f"{verdict} Single step {single['auprc']:.3f}; best iterated {_told(best)}"
    return f"{told}; {_told(ensemble)}." if ensemble else f"{told}."


def _verdict(iterated: list[dict]) -> str:
    if any(row["low"] is None for row in iterated):
        return f"undecided, fewer than {LEAST_PATIENTS} patients."
    above = sum(row["low"] > 0 for row in iterated)
    below = sum(row["high"] < 0 for row in iterated)
    which = f"{above} of {len(iterated)} iterated rows lie above it, {below} below."
    return f"{'yes' if above else 'no'}, {which}"


def _told(row: dict) -> str:
    return f"{name(row)} {row['auprc']:.3f} ({_difference(row)}; {row['nfe']} evaluations)"


def _fewest(rows: list[dict]) -> str:
    """Of one t_start."""
    ancestral = next((row for row in rows if row["family"] == "ddpm"), None)
    others = [row for row in rows if row["family"] != "ddpm"]
    if ancestral is None or not others:
        return "not asked (needs ddpm and another sampler)."
    told = f"ddpm {ancestral['auprc']:.3f} in {ancestral['nfe']} evaluations; "
    good = [row for row in others if row["auprc"] >= ancestral["auprc"] - TOLERANCE]
    good.sort(key=lambda row: (row["nfe"], -row["auprc"]))
    iterated = [row for row in good if row["family"] not in NOT_ITERATED and row["nfe"] > 1]
    if not good:
        return told + "no other sampler reaches it."
    first = f"{_told(good[0])} reaches it first"
    if good[0] in iterated:
        return f"{told}{first}."
    then = f"{_told(iterated[0])}" if iterated else "none"
    return f"{told}{first}; of the iterated samplers {then}."


def draw(path: Path, rows: list[dict]) -> None:
    """A panel for each of PANELS: every row, its sampler's curve over the steps, and the front."""
    figure = new_figure(14, 5)
    axes: Any = figure.subplots(1, len(PANELS))
    for axis, (cost, quality) in zip(axes, PANELS, strict=True):
        _curves(axis, rows, cost, quality)
        _front(axis, rows, cost, quality)
        axis.set(xscale="log", xlabel=COSTS[cost], ylabel=GOODS[quality][1])
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8)
    save(figure, path)


def _curves(axis, rows: list[dict], cost: str, quality: str) -> None:
    families, levels = (list(dict.fromkeys(row[key] for row in rows)) for key in ("family", "t_start"))
    for number, family in enumerate(families):
        for level, marker in zip(levels, "os^Dv<>P" * len(levels), strict=False):
            members = [row for row in rows if (row["family"], row["t_start"]) == (family, level)]
            if members:
                points = [(row[cost], row[quality]) for row in members]
                axis.plot(*zip(*points, strict=True), marker=marker, color=f"C{number}", linewidth=1,
                          label=f"{family}, t {level}")  # fmt: skip


def _front(axis, rows: list[dict], cost: str, quality: str) -> None:
    on = [row for row in rows if f"{quality} / {cost}" in row["front"]]
    on.sort(key=lambda row: row[cost])
    points = [(row[cost], row[quality]) for row in on]
    axis.plot(*zip(*points, strict=True), drawstyle="steps-post", color="black", linewidth=2, alpha=0.4,
              zorder=0, label="Pareto front")  # fmt: skip
