"""How does a trained model leave: as a sampler that needs no code of ours, or as weights with published names?"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from cdm_jax import config as configs
from cdm_jax import methods, provenance
from cdm_jax.detector import Detector
from cdm_jax.exported import read_exported, write_exported
from cdm_jax.files import write_text
from cdm_jax.folders import atomic_folder, refuse_used
from cdm_jax.weights import FILE, folder_of, read_variables, write_weights

PLATFORMS = ("cpu", "cuda", "tpu")
CALL = "program.call(leaves, name uint32[B,3] = (seed, subject, slice), image float32[B,H,W,1] in [0, 1])"


def export(workdir: str | Path, output: str | Path, overrides: Sequence[str] = ()) -> float:
    """Write the sampler of a trained model as StableHLO for any batch size, on CPU, CUDA GPU and TPU.

    Args: overrides: as for `Detector.load`.
    Returns: largest difference between what the file and the model give for two slices of noise.
    Raises: as `Detector.load`; UsageError: `output` cannot be written.
    """
    detector = Detector.load(workdir, overrides, devices=1)
    config = detector.config
    reconstruct = methods.named_reconstruct(config, methods.model(config))
    leaves, tree = jax.tree.flatten(jax.device_get(detector.variables))
    height, width, _ = config.preprocess.shape
    (b,) = jax.export.symbolic_shape("b")

    def program(leaves, name, image):
        return reconstruct(jax.tree.unflatten(tree, leaves), name, image)

    exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(
        [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves],
        jax.ShapeDtypeStruct((b, 3), jnp.uint32),
        jax.ShapeDtypeStruct((b, height, width, 1), jnp.float32),
    )
    facts = detector.facts() | {"call": CALL, "slice": [height, width], "platforms": PLATFORMS}
    write_exported(output, exported, leaves, facts | {"environment": provenance.environment()})

    sample, _ = read_exported(output)
    images = np.random.default_rng(0).random((2, height, width), np.float32)
    subjects, slices = np.zeros(2, np.uint32), np.arange(2)
    names = np.stack([np.full(2, config.seed), subjects, slices], axis=-1).astype(np.uint32)
    live = detector.reconstruct_slices(images, subjects, slices)
    return float(np.abs(np.asarray(sample(names, images[..., None]))[..., 0] - live).max())


def export_weights(workdir: str | Path, output: str | Path, overrides: Sequence[str] = ()) -> int:
    """Write the folder `output`: the weights (safetensors, published names), the config, the calibration if any.

    `Detector.load` takes the folder as it takes `workdir`.

    Args: overrides: as for `Detector.load`; they become what the written config says.
    Returns: how many parameters there are.
    Raises: CheckpointError: no usable model; UsageError: `output` is in use or cannot be written, a bad override.
    """
    refuse_used(output)
    workdir = folder_of(workdir)
    config = configs.read(workdir / "config.json", overrides)
    variables, step = read_variables(workdir, methods.variable_shapes(config))
    with atomic_folder(output) as folder:
        write_weights(folder / FILE, variables, step)
        configs.write(folder / "config.json", config)
        calibration = workdir / "calibration.json"
        if calibration.exists():
            write_text(folder / calibration.name, calibration.read_text())
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
