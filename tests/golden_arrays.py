"""Golden outputs of the published PyTorch code, and the recipe that redraws its weights and inputs by name."""

import json
import math
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "golden"


def load(name: str) -> dict[str, np.ndarray]:
    """All arrays of `golden/<name>.npz`; the JSON string under `meta` is parsed into a dict."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = dict(file)
    return arrays | {"meta": json.loads(str(arrays["meta"]))}


def generator(name: str) -> np.random.Generator:
    """Philox stream keyed by the CRC-32 of `name`."""
    return np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weight of the torch state-dict entry `name`, in torch layout (OIHW), float32."""
    normal = generator(name).standard_normal(shape).astype(np.float32)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_mean"):
        return 0.1 * normal
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(normal)
    if len(shape) >= 2:
        return normal / np.float32(math.sqrt(math.prod(shape[1:])))
    if name.endswith("weight"):  # the scale of a normalisation layer
        return 1 + 0.1 * normal
    return 0.02 * normal


def array(name: str, shape: tuple[int, ...], kind: str = "normal") -> np.ndarray:
    """Input `name` in torch layout (NCHW): standard normal, or uniform on [0, 1), float32."""
    stream = generator("input:" + name)
    drawn = stream.standard_normal(shape) if kind == "normal" else stream.random(shape)
    return drawn.astype(np.float32)


def nhwc(images: np.ndarray) -> np.ndarray:
    """[B,C,H,W] -> [B,H,W,C]."""
    return np.moveaxis(images, 1, -1)


def relative_error(actual, expected) -> float:
    """Largest absolute difference divided by the largest magnitude expected."""
    expected = np.asarray(expected, np.float64)
    return float(np.max(np.abs(np.asarray(actual, np.float64) - expected)) / np.max(np.abs(expected)))
