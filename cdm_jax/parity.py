"""Do our networks and the torch reference make the same of the same weights?"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from cdm_jax import methods
from cdm_jax.errors import CheckpointError
from cdm_jax.models.encoders import make_encoder

STEPS = np.array([3, 499, 749])
ONCE = {"xla_backend_optimization_level": 0}  # what runs once is compiled to be done soon
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Difference:
    """The largest difference between outputs of magnitudes up to `of`."""

    largest: float
    of: float

    def __str__(self) -> str:
        return f"{self.largest:.1e} of {self.of:.1e}"


def have_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def compare_model(config: ConfigDict, variables: dict, entries: Mapping[str, dict]) -> dict[str, Difference]:
    """Differences for three random images in float32, the UNet's at `STEPS`, and given one and the same condition.

    Args: entries: {"unet": state dict, "encoder": state dict}, as they stood in the file but for the prefix.
    Raises: CheckpointError: a difference is above `TOLERANCE` of the output.
    """
    plain = config.copy_and_resolve_references()
    plain.model.update(dtype="float32", convolution="direct")
    network = methods.model(plain)
    image, x_t = random_images(max(32, 2 ** (len(config.model.multipliers) - 1)))

    @partial(jax.jit, compiler_options=ONCE)
    def run(variables):
        cond = network.apply(variables, image, method="encode")
        return cond, network.apply(variables, x_t, STEPS, cond, method="predict")

    cond, predicted = jax.device_get(run(variables))
    differences = {}
    if cond is not None:
        expected = torch_encoding(config.encoder.to_dict(), entries["encoder"], image)
        differences["encoder"] = difference("encoder", cond, expected)
    expected = torch_prediction(config, entries["unet"], x_t, cond)
    return differences | {"unet": difference("UNet", predicted, expected)}


def compare_encoder(keys: Mapping, variables: dict, entries: dict) -> dict[str, Difference]:
    """The same for an encoder alone, under a head drawn at random for both sides."""
    settings = {"name": keys["encoder.name"], "width": keys["encoder.width"], "features": 16}
    encoder, (image, _) = make_encoder(**settings), random_images(32)
    template = jax.eval_shape(encoder.init, jax.random.key(0), image)["params"]["fc"]
    weight = np.random.default_rng(1).standard_normal(template["kernel"].shape[::-1], np.float32)
    head = {"fc.weight": weight, "fc.bias": np.zeros(len(weight), np.float32)}
    whole = {collection: tree["encoder"] for collection, tree in variables.items()}
    whole["params"] = {**whole["params"], "fc": {"kernel": weight.T, "bias": head["fc.bias"]}}
    found = jax.device_get(jax.jit(encoder.apply, compiler_options=ONCE)(whole, image))
    expected = torch_encoding(settings, {**entries, **head}, image)
    return {"encoder": difference("encoder", found, expected)}


def random_images(side: int) -> tuple[np.ndarray, np.ndarray]:
    """(images in [0, 1], noised images), each [3,side,side,1]."""
    draw, shape = np.random.default_rng(0), (len(STEPS), side, side, 1)
    return draw.random(shape, np.float32), draw.standard_normal(shape, np.float32)


def torch_encoding(settings: Mapping, entries: dict, image: np.ndarray) -> np.ndarray:
    """image[B,H,W,1] -> cond[B,E] of the reference encoder with these entries."""
    from cdm_jax.torch_reference.encoder import ResNet

    return run_torch(ResNet(settings["name"], settings["features"], settings["width"]), entries, nchw(image))


def torch_prediction(
    config: ConfigDict, entries: dict, x_t: np.ndarray, cond: np.ndarray | None
) -> np.ndarray:
    """x_t[B,H,W,1] at `STEPS` and cond[B,E] or None -> prediction[B,H,W,1] of the reference UNet."""
    unet = torch_unet(config)
    return np.moveaxis(run_torch(unet, entries, nchw(x_t), STEPS, cond), 1, -1)


def torch_unet(config: ConfigDict):
    """The reference UNet of `config`, freshly drawn."""
    from cdm_jax.torch_reference.unet import UNet

    net, encoder = config.model, config.encoder
    return UNet(
        base_channels=net.channels,
        multipliers=net.multipliers,
        blocks=net.blocks,
        attention_levels=net.attention,
        head_channels=net.head_channels,
        cond_features=None if encoder.name == "none" else encoder.features,
        conditioning=net.conditioning,
    )


def run_torch(module, entries: dict, *inputs: np.ndarray | None) -> np.ndarray:
    """Output of a torch module with these entries; counters of batches may be missing."""
    import torch

    from cdm_jax.torch_reference.cddpm import load_arrays

    counters = {name: 0 for name in module.state_dict() if name.endswith("num_batches_tracked")}
    known = counters | entries
    load_arrays(module, {name: np.asarray(known[name], np.float32) for name in module.state_dict()})
    with torch.inference_mode():
        given = [None if array is None else torch.tensor(array) for array in inputs]
        return module.eval()(*given).numpy()


def difference(what: str, found: np.ndarray, expected: np.ndarray) -> Difference:
    """Raises: CheckpointError: it is above `TOLERANCE`, or no number."""
    result = Difference(float(np.abs(found - expected).max()), float(np.abs(expected).max()))
    if not result.largest <= TOLERANCE * result.of:
        raise CheckpointError(f"the {what} differs from the torch reference by {result}")
    return result


def nchw(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image, -1, 1)
