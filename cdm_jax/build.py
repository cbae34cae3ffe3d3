"""What a config means: the only reader of the ConfigDict, which hands plain arguments to the floors below."""

import inspect
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from cdm_jax import optim
from cdm_jax.diffusion import Noise
from cdm_jax.errors import UsageError, choose
from cdm_jax.models.cddpm import CDDPM
from cdm_jax.models.encoders import make_encoder
from cdm_jax.models.unet import UNet
from cdm_jax.models.winograd import CONVOLUTIONS
from cdm_jax.noise import NOISES
from cdm_jax.objectives import OBJECTIVES, Objective
from cdm_jax.progress import track
from cdm_jax.reconstruct import Reconstruct, by_name, make_reconstruct
from cdm_jax.samplers import SAMPLERS
from cdm_jax.samplers.evaluations import evaluations
from cdm_jax.schedule import Schedule, make_schedule

if TYPE_CHECKING:
    from cdm_jax.data.datasets.tree import Subject
    from cdm_jax.data.store import Store

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def schedule(config: ConfigDict) -> Schedule:
    return make_schedule(config.diffusion.schedule, config.diffusion.timesteps)


def noise(config: ConfigDict) -> Noise:
    draw = choose(NOISES, config.noise.name, "noise")
    return partial(draw, **_accepted(draw, config.noise))


def model(config: ConfigDict) -> CDDPM:
    """The network of `config`; `encoder.name` "none" gives the unconditional one."""
    dtype = choose(DTYPES, config.model.dtype, "dtype")
    conditional = config.encoder.name != "none"
    unet = UNet(
        base_channels=config.model.channels,
        multipliers=tuple(config.model.multipliers),
        blocks=config.model.blocks,
        attention_levels=tuple(config.model.attention),
        head_channels=config.model.head_channels,
        dropout=config.model.dropout,
        cond_features=config.encoder.features if conditional else None,
        dtype=dtype,
        convolve=choose(CONVOLUTIONS, config.model.convolution, "convolution"),
    )
    encoder = make_encoder(**config.encoder.to_dict(), dtype=dtype) if conditional else None
    return CDDPM(unet=unet, encoder=encoder)


def init_variables(config: ConfigDict, network: CDDPM) -> dict:
    """Freshly drawn variables of `network`, from the config's seed, in one compiled call."""
    height, width, _ = config.preprocess.shape
    image = jnp.zeros((2, height, width, 1))

    def init(key):
        return network.init(key, image, image, jnp.zeros(2, jnp.int32), False)

    variables = jax.jit(init)(jax.random.key(config.seed))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def objective(config: ConfigDict, network: CDDPM) -> Objective:
    make = choose(OBJECTIVES, config.model.objective, "objective")
    return make(
        network,
        schedule(config),
        noise(config),
        prediction=config.diffusion.prediction,
        loss=config.diffusion.loss,
        p2_gamma=config.diffusion.p2_gamma,
        shared=config.noise.shared_train,
    )


def optimizer(config: ConfigDict) -> optax.GradientTransformation:
    settings = config.train
    return optim.make_optimizer(**{name: settings[name] for name in
                                   ("lr", "steps", "warmup", "cosine", "weight_decay", "clip")})  # fmt: skip


def reconstruct(config: ConfigDict, network: CDDPM) -> Reconstruct:
    sampler = choose(SAMPLERS, config.sampler.name, "sampler")
    settings = _accepted(sampler, config.sampler)
    evaluations(sampler, schedule(config), **settings)  # refuses bad settings now, not at the first volume
    return make_reconstruct(
        network, schedule(config), noise(config), sampler, prediction=config.diffusion.prediction, **settings
    )


def named_reconstruct(config: ConfigDict, network: CDDPM) -> Reconstruct:
    """reconstruct(variables, name[B,3], image[B,H,W,1]), see `by_name`."""
    if config.sampler.batch < 1:
        raise UsageError(f"config.sampler.batch: {config.sampler.batch} slices a device call; give 1 or more")
    return by_name(reconstruct(config, network), shared=config.noise.shared_test)


def preprocessing(config: ConfigDict) -> dict:
    """Keyword arguments of `preprocess`."""
    return config.preprocess.to_dict()


def post_processing(config: ConfigDict) -> dict:
    """Keyword arguments of `anomaly_map`."""
    width = config.preprocess.shape[1]
    return {"erosions": int(width * config.anomaly.erosion), "median_size": config.anomaly.median}


# Data are read through imports of their own: a network is built where nibabel and SimpleITK are missing.


def subjects(config: ConfigDict, split: str) -> list["Subject"]:
    from cdm_jax.data import datasets

    data = config.data
    return datasets.load(data.dataset, data.root, split, data.modality, data.fold)


def stores(config: ConfigDict, *splits: str) -> list["Store"]:
    """The prepared volumes of each split, made under `data.root`/prepared where they are not there yet."""
    from cdm_jax.data import store

    cache = Path(config.data.root) / "prepared"
    settings = preprocessing(config) | {"labels": config.data.labels, "workers": config.data.workers}
    found = []
    for split in splits:
        members = subjects(config, split)
        progress = partial(track, total=len(members), what=f"prepare {split}", unit="volume")
        found.append(store.build(cache, members, progress=progress, **settings))
    return found


def _accepted(function, settings: ConfigDict) -> dict:
    """Those of `settings` that `function` has a keyword for; an empty string leaves its own default."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in settings.items() if name in names and value != ""}
