"""How was torchio_augment.npz made?

    pip install torch==2.13.0 torchio==0.20.23        # in an environment of their own
    python tests/golden/torchio_augment.py            # writes torchio_augment.npz beside this file

TorchIO augments whole volumes; one slice of each result is kept. `meta["cases"][effect][i]` names the volume, the
slice and the parameters of the array `<effect>_<i>`; stds are in pixels.
"""

import json
from pathlib import Path

import numpy as np
import scipy
import torch
import torchio as tio
from scipy import ndimage

SPACING = {"even": 2.0, "odd": 1.0, "single": 1.0}  # mm; only the blur looks at it


def smooth_volume(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A random field on about [-0.05, 1]: like a scaled MRI, with the slight undershoot of a B-spline."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    field = ndimage.gaussian_filter(noise, (1.5, 1.5, 1 if shape[2] > 1 else 0))
    return ((field - field.min()) / np.ptp(field) * 1.05 - 0.05).astype(np.float32)


VOLUMES = {
    "even": smooth_volume((48, 40, 6), 0),
    "odd": smooth_volume((31, 27, 5), 1),
    "single": smooth_volume((48, 40, 1), 2),
}


def coefficients(seed: int, size: float = 0.5) -> list[float]:
    """Float32 numbers, so that both sides see the very same."""
    return np.random.default_rng(seed).uniform(-size, size, 20).astype(np.float32).tolist()


CASES = {
    "gamma": [
        {"volume": "even", "slice": 1, "log_gamma": 0.3},
        {"volume": "even", "slice": 4, "log_gamma": -0.3},
        {"volume": "odd", "slice": 2, "log_gamma": 0.125},
    ],
    "bias_field": [
        {"volume": "even", "slice": 0, "coefficients": coefficients(0)},
        {"volume": "even", "slice": 4, "coefficients": coefficients(1)},
        {"volume": "odd", "slice": 2, "coefficients": coefficients(2)},
        {"volume": "single", "slice": 0, "coefficients": coefficients(3)},
    ],
    "blur": [
        {"volume": "even", "slice": 3, "std": [0.6, 1.3]},
        {"volume": "even", "slice": 2, "std": [2.0, 0.05]},
        {"volume": "odd", "slice": 1, "std": [1.7, 2.0]},
        {"volume": "single", "slice": 0, "std": [0.0, 0.7]},
    ],
    "ghosting": [
        {"volume": "even", "slice": 2, "count": 4, "axis": 0, "intensity": 1.0, "restore": None},
        {"volume": "even", "slice": 5, "count": 7, "axis": 1, "intensity": 0.5, "restore": None},
        {"volume": "odd", "slice": 0, "count": 5, "axis": 0, "intensity": 0.75, "restore": None},
        {"volume": "odd", "slice": 3, "count": 10, "axis": 1, "intensity": 1.0, "restore": None},
        {"volume": "even", "slice": 1, "count": 4, "axis": 1, "intensity": 1.0, "restore": 0.25},
        {"volume": "odd", "slice": 1, "count": 9, "axis": 0, "intensity": 0.625, "restore": 0.02},
    ],
}


def transform(effect: str, case: dict) -> tio.Transform:
    """TorchIO's transform for the drawn parameters of a case; its random ones only draw, then call these."""
    if effect == "gamma":
        return tio.Gamma(gamma=float(np.exp(case["log_gamma"])))
    if effect == "bias_field":
        return tio.BiasField(coefficients=case["coefficients"], order=3)
    if effect == "blur":  # of the slice axis only where it has one slice, which is then its own mirror image
        across = 1.5 if case["volume"] == "single" else 0.0
        return tio.Blur(std=[float(s) * SPACING[case["volume"]] for s in (*case["std"], across)])
    return tio.Ghosting(case["count"], case["axis"], case["intensity"], case["restore"])


def result(effect: str, case: dict) -> np.ndarray:
    """The case's slice of the transformed volume."""
    spacing = SPACING[case["volume"]]
    tensor = torch.from_numpy(VOLUMES[case["volume"]][None].copy())
    image = tio.ScalarImage(tensor=tensor, affine=np.diag([spacing] * 3 + [1]))
    return transform(effect, case)(image).numpy()[0, ..., case["slice"]].astype(np.float32)


def main() -> None:
    results = {
        f"{effect}_{i}": result(effect, case)
        for effect, cases in CASES.items()
        for i, case in enumerate(cases)
    }
    versions = {module.__name__: module.__version__ for module in (tio, torch, scipy, np)}
    meta = json.dumps({"cases": CASES, "versions": versions})
    np.savez_compressed(Path(__file__).with_suffix(".npz"), meta=meta, **VOLUMES, **results)


if __name__ == "__main__":
    main()
