"""From a scan to its pseudo-healthy reconstruction, anomaly map and lesion mask: the public API."""

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
from ml_collections import ConfigDict

from cdm_jax import anomaly, build, checkpoint
from cdm_jax import config as configs
from cdm_jax.data import preprocess as prep
from cdm_jax.data import volume as volumes
from cdm_jax.data.brain_mask import estimate_mask
from cdm_jax.data.volume import Volume
from cdm_jax.errors import CheckpointError
from cdm_jax.noise import image_keys


@dataclass(frozen=True, eq=False)
class Detection:
    """What `Detector.detect` found, everything on the input's own grid.

    scan: the input as read; recon, anomaly: float32 [H,W,D], in the input's intensities and in shares of its
    1st-99th percentile range; lesion_mask: bool [H,W,D]; facts: the JSON sidecar's content.
    """

    scan: Volume
    recon: np.ndarray
    anomaly: np.ndarray
    lesion_mask: np.ndarray
    facts: dict

    @property
    def affine(self) -> np.ndarray:
        """Voxel-to-world affine of all three volumes, the input's."""
        return self.scan.affine

    def to_nifti(self) -> dict[str, nib.Nifti1Image]:
        """The three volumes as nibabel images in the input's space."""
        arrays = {
            "recon": self.recon,
            "anomaly": self.anomaly,
            "lesion_mask": self.lesion_mask.astype(np.uint8),
        }
        return {name: nib.Nifti1Image(array, self.affine) for name, array in arrays.items()}


@dataclass(frozen=True, eq=False)
class Detector:
    """A trained model with the threshold that its validation cases gave.

    reconstruct: the compiled reconstruct(variables, key[B], image[B,H,W,1]); threshold: {"value", "source"},
    or None before calibration.
    """

    config: ConfigDict
    variables: dict
    step: int
    threshold: dict | None
    reconstruct: Callable

    @classmethod
    def load(cls, workdir: str | Path) -> "Detector":
        """The best checkpoint of a training folder.

        Raises:
          CheckpointError: no usable checkpoint, or one of another architecture.
        """
        config = configs.read(Path(workdir) / "config.json")
        network = build.model(config)
        like = jax.eval_shape(lambda: build.init_variables(config, network))
        variables, step = checkpoint.restore_variables(workdir, like)
        threshold = read_threshold(Path(workdir) / "calibration.json")
        return cls(config, variables, step, threshold, jax.jit(build.reconstruct(config, network)))

    def reconstruct_slices(self, images: np.ndarray, subjects: np.ndarray, slices: np.ndarray) -> np.ndarray:
        """Reconstruct axial slices in batches of one size, so that nothing is compiled twice.

        Args:
          images: [N,H,W] in [0, 1]; subjects: [N] numbers that name the noise (`subject_number`); slices: [N].
        Returns: float32 [N,H,W].
        """
        size = self.config.sampler.batch
        count = len(images)
        padded = np.arange(-(-count // size) * size) % max(count, 1)
        key = jax.random.key(self.config.seed)
        out = []
        for start in range(0, len(padded), size):
            rows = padded[start : start + size]
            keys = image_keys(key, jnp.asarray(subjects[rows]), jnp.asarray(slices[rows]), 0,
                              shared=self.config.noise.shared_test)  # fmt: skip
            out.append(self.reconstruct(self.variables, keys, jnp.asarray(images[rows])[..., None])[..., 0])
        return np.concatenate(out)[:count] if out else np.zeros_like(images, np.float32)

    def reconstruct_volume(self, image: np.ndarray, mask: np.ndarray, subject: str) -> np.ndarray:
        """Reconstruct the slices of image[H,W,D] that `mask` touches; float32 [H,W,D], zero elsewhere."""
        slices = np.flatnonzero(mask.any(axis=(0, 1)))
        subjects = np.full(len(slices), subject_number(subject), np.uint32)
        recon = np.zeros(image.shape, np.float32)
        recon[..., slices] = np.moveaxis(
            self.reconstruct_slices(np.moveaxis(image[..., slices], 2, 0), subjects, slices), 0, 2
        )
        return recon

    def anomaly_map(self, image: np.ndarray, recon: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Residual, eroded mask and median filter, as the config asks: float32 [H,W,D]."""
        return anomaly.anomaly_map(anomaly.residual(image, recon), mask, **build.post_processing(self.config))

    def detect(self, source: str | Path | Volume, mask: np.ndarray | str | Path | None = None,
               threshold: float | None = None) -> Detection:  # fmt: skip
        """Find what does not look healthy in one scan.

        Args:
          source: a NIfTI file or a `Volume`; mask: its brain mask, bool [H,W,D] or a file; without one the
            scan must be skull-stripped and its foreground is taken.
          threshold: of the anomaly map; without one the calibrated.
        Raises:
          VolumeError: the scan or its mask cannot be used.
          CheckpointError: no threshold given and the model is not calibrated.
        """
        began = time.monotonic()
        value, origin = self._threshold(threshold)
        scan = source if isinstance(source, Volume) else volumes.read(source)
        brain = volumes.read_mask(mask, scan) if isinstance(mask, str | Path) else mask
        brain = estimate_mask(scan) if brain is None else brain
        prepared = prep.preprocess(scan, brain, **build.preprocessing(self.config))
        recon = self.reconstruct_volume(prepared.image, prepared.mask, subject_name(scan))
        model_score = self.anomaly_map(prepared.image, recon, prepared.mask)
        score = np.where(brain, prep.to_input_grid(model_score, prepared), 0).astype(np.float32)
        least = self._min_component(scan)
        lesions = anomaly.remove_small_components(anomaly.binarise(score, value), least)
        facts = self.facts() | {
            "input": str(scan.path or ""),
            "spacing_mm": [round(float(s), 6) for s in scan.spacing],
            "brain_mask": "estimated from the scan's foreground" if mask is None else "given",
            "threshold": {"value": value, "source": origin},
            "min_component_voxels": least,
            "lesion_volume_ml": float(lesions.sum() * np.prod(scan.spacing) / 1000),
            "seconds": round(time.monotonic() - began, 3),
        }
        return Detection(scan, healthy_scan(scan, brain, recon, prepared), score, lesions, facts)

    def facts(self) -> dict:
        """What a result of this model depends on besides the scan."""
        return {
            "model": {"objective": self.config.model.objective, "encoder": self.config.encoder.name,
                      "step": self.step, "modality": self.config.data.modality},
            "sampler": self.config.sampler.to_dict() | {"noise": self.config.noise.name},
            "timesteps": self.config.diffusion.timesteps,
            "grid": self.config.preprocess.to_dict(),
            "post_processing": self.config.anomaly.to_dict(),
            "seed": self.config.seed,
        }  # fmt: skip

    def _threshold(self, given: float | None) -> tuple[float, str]:
        if given is not None:
            return given, "given by the user"
        if self.threshold is None:
            raise CheckpointError(
                "this model has no threshold yet: run 'cdm evaluate' first or give --threshold"
            )
        return self.threshold["value"], self.threshold["source"]

    def _min_component(self, scan: Volume) -> int:
        """The component size of the config, which counts model voxels, in voxels of the scan."""
        ratio = self.config.preprocess.spacing**3 / np.prod(scan.spacing)
        return int(round(self.config.anomaly.min_component * ratio))


def read_threshold(path: Path) -> dict | None:
    """{"value", "source"} that `cdm evaluate` left, None before that; CheckpointError if it is damaged."""
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text())
        return {"value": float(kept["value"]), "source": str(kept["source"])}
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged; run 'cdm evaluate' again") from error


def healthy_scan(scan: Volume, brain: np.ndarray, recon: np.ndarray, prepared: prep.Prepared) -> np.ndarray:
    """The scan with its brain replaced by the reconstruction, in the scan's intensities, float32 [H,W,D]."""
    reached = prep.to_input_grid(prepared.mask.astype(np.float32), prepared) > 0.01
    full = prep.masked_to_input_grid(np.clip(recon, 0, 1), prepared)
    return np.where(brain & reached, prep.to_input_intensity(full, prepared), scan.array)


def subject_name(scan: Volume) -> str:
    """The id that names the noise of a scan: its file name without endings."""
    return volumes.stem(scan.path) if scan.path else "scan"


def subject_number(name: str) -> int:
    """The number that names a subject's noise: CRC-32 of its id, the same on every machine."""
    return zlib.crc32(name.encode())
