"""How well a trained model finds lesions: threshold from validation cases, numbers from test cases."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cdm_jax import anomaly, build, methods, metric_log, metrics
from cdm_jax.calibration import write_calibration
from cdm_jax.data.pipeline import brain_slices
from cdm_jax.data.store import Store, gather
from cdm_jax.detection import subject_number
from cdm_jax.detector import Detector
from cdm_jax.files import write_json, write_text
from cdm_jax.report.table import markdown

Score = Callable[[Store], tuple[list[np.ndarray], list[float], float]]
"""score(store) -> (anomaly map [H,W,D] of each volume, L1 error of each volume's brain, seconds a volume)."""


AT_ONCE = 1024  # slices that are held in memory for the device


def evaluate(
    workdir: str | Path, *, data: str | Path | None = None, overrides: Sequence[str] = (), **spread
) -> list[dict]:
    """Calibrate and score the model in `workdir`; returns one summary row a method.

    The intensity threshold stands beside it: same grid, same post-processing, same choice of threshold. The
    threshold is chosen on labelled validation patients alone; test labels only score it. Writes
    `calibration.json`, `evaluation.json` (every record), `evaluation.csv` and `evaluation.md` to `workdir`; with
    patients of another data set than the healthy volumes', their name is in the last three.

    Args:
      data: root of the data, where it is not the one that the config names.
      overrides, spread: as for `Detector.load`.
    Raises:
      CheckpointError: as `Detector.load`; UsageError: the data's splits are missing.
    """
    workdir, detector = Path(workdir), Detector.load(workdir, overrides, **spread)
    config = detector.config
    if data is not None:
        with config.unlocked():
            config.data.root = str(data)
    splits = ("val_patients", "test_patients", "test_healthy")
    val, test, healthy = build.stores(config, *splits)
    warn_of_leaks(workdir, healthy)

    rows, records = [], []
    for name, score in (
        ("intensity threshold", intensity(detector)),
        (methods.method(config).title(config), model(detector)),
    ):
        threshold, found = score_method(score, val, test, healthy, config.anomaly.min_component)
        row = summarise(name, threshold, found)
        rows.append(row | {"seed": config.seed})
        records += [{"method": name} | record for record in found]
    patients = config.data.patients or config.data.dataset
    source = f"best pooled Dice on {len(val)} labelled validation patients of '{patients}'"
    write_calibration(workdir / "calibration.json", rows[-1]["threshold"], source, config)
    stem = f"evaluation_{config.data.patients}" if config.data.patients else "evaluation"
    write_json(workdir / f"{stem}.json", {"summary": rows, "records": records})
    write_text(workdir / f"{stem}.csv", metric_log.to_csv(records))
    write_text(workdir / f"{stem}.md", markdown(rows))
    return rows


def warn_of_leaks(workdir: Path, healthy: Store) -> None:
    """Say which healthy test subjects the model was trained on: the published tables have some."""
    kept = workdir / "run.json"
    trained = json.loads(kept.read_text()).get("train", []) if kept.exists() else []
    if leaked := sorted(set(trained) & set(healthy.ids)):
        print(
            f"warning: {len(leaked)} of {len(healthy)} healthy test subjects were trained on ({', '.join(leaked[:3])} "
            "...): their errors are too low; 'cdm check DATA --write-splits' writes splits without leaks",
            file=sys.stderr,
        )


def intensity(detector: Detector) -> Score:
    """The image itself as anomaly score (Meissen et al. 2021); inverted for T1, where lesions are dark."""
    dark = detector.config.data.modality == "t1"

    def score(store: Store):
        began, maps = time.monotonic(), []
        for image, mask in axial_last(store):
            maps.append(
                detector.anomaly_map(np.where(mask, 1 - image if dark else image, 0), 0 * image, mask)
            )
        return maps, [float("nan")] * len(store), (time.monotonic() - began) / len(store)

    return score


def model(detector: Detector) -> Score:
    """Residual of the model's reconstruction; the slices of all volumes are reconstructed together."""

    def score(store: Store):
        began = time.monotonic()
        recons = reconstruct_store(detector, store)
        maps, errors = [], []
        for (image, mask), recon in zip(axial_last(store), recons, strict=True):
            maps.append(detector.anomaly_map(image, recon, mask))
            errors.append(metrics.l1_error(image, recon, mask))
        return maps, errors, (time.monotonic() - began) / len(store)

    return score


def reconstruct_store(detector: Detector, store: Store) -> list[np.ndarray]:
    """Reconstructions [H,W,D] of all volumes, zero in slices without brain."""
    pairs = [(volume, index) for volume, chosen in enumerate(brain_slices(store)) for index in chosen]
    numbers = np.array([subject_number(name) for name in store.ids], np.uint32)
    out = np.zeros((len(store), *store.images[0].shape), np.float32)
    for start in range(0, len(pairs), AT_ONCE):
        volume, index = np.array(pairs[start : start + AT_ONCE]).T
        images, _ = gather(store, volume, index)
        out[volume, index] = detector.reconstruct_slices(images, numbers[volume], index)
    return list(np.moveaxis(out, 1, 3))


def axial_last(store: Store):
    """(image, mask) of every volume as [H,W,D]."""
    for image, mask in zip(store.images, store.masks, strict=True):
        yield np.moveaxis(np.asarray(image), 0, 2), np.moveaxis(np.asarray(mask), 0, 2)


def score_method(score: Score, val: Store, test: Store, healthy: Store, min_component: int):
    """(threshold, one record a test volume) of one method."""
    val_maps, _, _ = score(val)
    threshold = best_threshold(val_maps, val)
    records = []
    for split, store in (("test_patients", test), ("test_healthy", healthy)):
        maps, errors, seconds = score(store)
        for n, (name, score_map, error) in enumerate(zip(store.ids, maps, errors, strict=True)):
            mask, seg = np.moveaxis(store.masks[n], 0, 2), np.moveaxis(store.segs[n], 0, 2)
            found = anomaly.remove_small_components(anomaly.binarise(score_map, threshold), min_component)
            record = {"id": name, "split": split, "l1": error, "seconds": seconds}
            records.append(record | lesion_metrics(score_map, found, seg, mask))
    return threshold, records


def best_threshold(maps: list[np.ndarray], store: Store) -> float:
    """The threshold of the highest Dice over the brain voxels of all volumes together."""
    masks = [np.moveaxis(mask, 0, 2) for mask in store.masks]
    segs = [np.moveaxis(seg, 0, 2) for seg in store.segs]
    pooled = np.concatenate([m[mask] for m, mask in zip(maps, masks, strict=True)])
    truth = np.concatenate([seg[mask] for seg, mask in zip(segs, masks, strict=True)])
    return float(metrics.best_dice(pooled, truth).threshold)


def lesion_metrics(score: np.ndarray, found: np.ndarray, seg: np.ndarray, mask: np.ndarray) -> dict:
    """Numbers of one volume over its brain voxels; of a healthy one only the falsely marked share."""
    share = {"false_positive_share": metrics.false_positive_share(found & ~seg, mask)}
    if not seg.any():
        return share
    return share | {
        "dice": metrics.dice(found, seg),
        "best_dice": metrics.best_dice(score[mask], seg[mask]).dice,
        "auprc": metrics.auprc(score[mask], seg[mask]),
        "auroc": metrics.auroc(score[mask], seg[mask]),
    }


def summarise(name: str, threshold: float, records: list[dict]) -> dict:
    """Means over patients, and over healthy volumes where the name says so."""
    patients = [record for record in records if record["split"] == "test_patients"]
    controls = [record for record in records if record["split"] == "test_healthy"]

    def column(rows: list[dict], key: str) -> np.ndarray:
        return np.array([row[key] for row in rows if key in row])

    row: dict[str, Any] = {
        "method": name,
        "threshold": threshold,
        "patients": len(patients),
        "healthy": len(controls),
    }
    row |= {"dice": column(patients, "dice").mean(), "dice_std": column(patients, "dice").std()}
    row |= {key: column(patients, key).mean() for key in ("best_dice", "auprc", "auroc")}
    row["healthy_false_positive_share"] = column(controls, "false_positive_share").mean()
    row["healthy_l1"] = column(controls, "l1").mean()
    row["seconds"] = column(records, "seconds").mean()
    return {key: value if isinstance(value, str | int) else float(value) for key, value in row.items()}
