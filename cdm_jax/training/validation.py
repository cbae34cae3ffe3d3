"""How good is a model while it is trained, and what does it show?"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cdm_jax import methods
from cdm_jax.data import pipeline
from cdm_jax.data.store import Store
from cdm_jax.mesh import copied, my_rows, place_batch
from cdm_jax.train_state import TrainState, make_eval_step
from cdm_jax.training.trainer import Trainer

VALIDATION_SEED = 20_250_000  # the same noise for every run, so that validation losses compare across seeds


def make_validation(trainer: Trainer, store: Store) -> Callable:
    """validate(state) -> (mean loss on fixed slices, steps and noise; {figure: {row: images [B,H,W,1]}})."""
    config, mesh = trainer.config, trainer.mesh
    batches = list(pipeline.fixed_batches(store, config.train.batch))
    eval_step = jax.jit(make_eval_step(trainer.objective), out_shardings=copied(mesh))
    pictures = jax.jit(make_pictures(config, trainer.network), out_shardings=copied(mesh))
    key = jax.random.key(VALIDATION_SEED)

    def validate(state: TrainState) -> tuple[float, dict]:
        placed = (
            place_batch(mesh, my_rows(with_steps(batch, config.diffusion.timesteps))) for batch in batches
        )
        total = sum(eval_step(state.variables, batch, key) for batch in placed)
        images = batches[0]["image"][:8]
        drawn = jax.device_get(pictures(state.variables, jax.random.split(key, len(images)), images))
        weight = sum(batch["weight"].sum() for batch in batches)
        return float(total / weight), drawn

    return validate


def make_pictures(config: ConfigDict, network) -> Callable:
    """pictures(variables, key[B], image) -> {figure: {row: images}}: what `progress` shows, and the method's own."""
    reconstruct, special = methods.reconstruct(config, network), methods.method(config).pictures
    own = special(config, network) if special else None

    def pictures(variables, key, image):
        image_hat = reconstruct(variables, key, image)
        rows = {"input": image, "reconstruction": image_hat, "residual": jnp.abs(image - image_hat)}
        return {"progress": rows} | ({"pretraining": own(variables, key, image)} if own else {})

    return pictures


def with_steps(batch: dict, timesteps: int) -> dict:
    """The batch with a fixed step t for every id, spread evenly over [0, T) by the golden ratio."""
    t = np.floor((batch["id"] * 0.6180339887 % 1) * timesteps).astype(np.int32)
    return {name: batch[name] for name in ("image", "mask", "id", "weight")} | {"t": t}
