"""How well does an anomaly score agree with the truth?

Arrays may have any shape, alike in all arguments, and every voxel counts: to judge the brain alone, or
several volumes together, index or concatenate first (`score[mask]`). A quantity that is not defined is nan,
never an arbitrary number: average it with `np.nanmean`. `seg` and `binary` are true where they are not zero.
"""

from typing import NamedTuple

import numpy as np


class Cut(NamedTuple):
    """A threshold, and the Dice coefficient of `score > threshold`."""

    threshold: float
    dice: float


UNDEFINED = Cut(np.nan, np.nan)


def dice(binary: np.ndarray, seg: np.ndarray) -> float:
    """Dice coefficient 2 TP / (2 TP + FP + FN) in [0, 1].

    Two empty masks agree: 1, as in the BraTS challenge. One empty mask alone gives 0.
    """
    tp, fp, fn, _ = counts(binary, seg)
    return 1.0 if tp + fp + fn == 0 else 2 * tp / (2 * tp + fp + fn)


def precision(binary: np.ndarray, seg: np.ndarray) -> float:
    """Share of the marked voxels that are lesion, TP / (TP + FP); nan if nothing is marked."""
    tp, fp, _, _ = counts(binary, seg)
    return _share(tp, tp + fp)


def recall(binary: np.ndarray, seg: np.ndarray) -> float:
    """Share of the lesion that is marked (sensitivity), TP / (TP + FN); nan without a lesion."""
    tp, _, fn, _ = counts(binary, seg)
    return _share(tp, tp + fn)


def specificity(binary: np.ndarray, seg: np.ndarray) -> float:
    """Share of the healthy voxels left unmarked, TN / (TN + FP); nan if no voxel is healthy.

    Background is healthy, too, and makes this nearly 1: pass brain voxels only.
    """
    _, fp, _, tn = counts(binary, seg)
    return _share(tn, tn + fp)


def counts(binary: np.ndarray, seg: np.ndarray) -> tuple[int, int, int, int]:
    """Voxels that are TP, FP, FN and TN, in this order. Raises ValueError for unlike shapes."""
    binary, seg = _alike(binary, seg)
    binary, seg = binary != 0, seg != 0
    tp = int(np.count_nonzero(binary & seg))
    fp, fn = int(np.count_nonzero(binary)) - tp, int(np.count_nonzero(seg)) - tp
    return tp, fp, fn, seg.size - tp - fp - fn


def auroc(score: np.ndarray, seg: np.ndarray) -> float:
    """Area under the ROC curve: chance that a lesion voxel outscores a healthy one, ties counting half.

    nan unless both kinds of voxel are there.
    """
    _, tp, fp = _cuts(score, seg)
    if tp[-1] == 0 or fp[-1] == 0:
        return np.nan
    return float(np.trapezoid(np.append(0, tp) / tp[-1], np.append(0, fp) / fp[-1]))


def auprc(score: np.ndarray, seg: np.ndarray) -> float:
    """Average precision: precision at every cut, weighted by the recall it adds; nan without a lesion."""
    _, tp, fp = _cuts(score, seg)
    if tp[-1] == 0:
        return np.nan
    return float(np.sum(np.diff(tp, prepend=0) / tp[-1] * tp / (tp + fp)))


def best_dice(score: np.ndarray, seg: np.ndarray) -> Cut:
    """Highest Dice that `score > threshold` reaches for any threshold, with a threshold that reaches it.

    Exact: every distinct score is tried. The threshold comes from the truth it is judged by, so this is an
    upper bound and no detection result. Both nan without a lesion.
    """
    values, tp, fp = _cuts(score, seg)
    if tp[-1] == 0:
        return UNDEFINED
    curve = 2 * tp / (tp + fp + tp[-1])
    best = int(np.argmax(curve))
    lowest = np.nextafter(values[-1], values.dtype.type(-np.inf))
    return Cut(float(np.append(values, lowest)[best + 1]), float(curve[best]))


def published_threshold(score: np.ndarray, seg: np.ndarray, halvings: int = 10) -> Cut:
    """The paper's search for a threshold of high Dice.

    Starting from [0, largest score], it compares Dice at a quarter and at three quarters of the interval,
    keeps the better half (the lower one if equal) and returns the best point met, the last one among equals.
    Dice need not have a single peak, so `best_dice` can be higher. Both nan without a lesion.
    """
    score, seg = _scores(score, seg)
    if not np.any(seg):
        return UNDEFINED
    low, high = score.dtype.type(0), score.max()
    best, threshold = 0.0, low
    for _ in range(halvings):
        quarter = (high - low) / 4
        points = low + quarter, high - quarter
        values = [dice(score > point, seg) for point in points]
        side = int(values[1] > values[0])
        if values[side] >= best:
            best, threshold = values[side], points[side]
        low, high = (low, low + 2 * quarter) if side == 0 else (low + 2 * quarter, high)
    return Cut(float(threshold), best)


def false_positive_share(binary: np.ndarray, mask: np.ndarray) -> float:
    """Share of a healthy volume's brain voxels that are marked, FP / (FP + TN); nan if `mask` is empty."""
    binary, mask = _alike(binary, mask)
    return _share(int(np.count_nonzero((binary != 0) & (mask != 0))), int(np.count_nonzero(mask)))


def l1_error(x0: np.ndarray, x0_hat: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute reconstruction error over the voxels of `mask`, in intensity units; nan if it is empty.

    For healthy voxels pass `mask & ~seg`, for the lesion `seg`.
    """
    x0, x0_hat, mask = _alike(x0, x0_hat, mask)
    inside = mask != 0
    errors = np.abs(x0[inside] - x0_hat[inside])
    return _share(errors.sum(dtype=np.float64), errors.size)


def _cuts(score: np.ndarray, seg: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores in falling order, and TP and FP of marking all voxels that score at least as much."""
    score, seg = (array.ravel() for array in _scores(score, seg))
    if score.size == 0:
        return np.zeros(1), np.zeros(1, int), np.zeros(1, int)
    order = np.argsort(score)[::-1]
    score, seg = score[order], seg[order] != 0
    last = np.append(np.flatnonzero(score[1:] != score[:-1]), score.size - 1)  # of each run of equal scores
    tp = np.cumsum(seg)[last]
    return score[last], tp, last + 1 - tp


def _scores(score: np.ndarray, seg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of one shape, scores as finite floating-point numbers."""
    score, seg = _alike(score, seg)
    score = score if np.issubdtype(score.dtype, np.floating) else score.astype(np.float64)
    if not np.isfinite(score).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(score))} scores are NaN or infinite")
    return score, seg


def _alike(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    arrays = tuple(np.asarray(array) for array in arrays)
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"arrays of unlike shapes: {', '.join(str(array.shape) for array in arrays)}")
    return arrays


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else np.nan
