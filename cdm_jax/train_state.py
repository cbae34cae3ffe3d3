"""Everything a training run holds between two steps."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cdm_jax.objectives.loss import Objective


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Parameters, BatchNorm statistics, averaged parameters (equal in shape to `params`), optimiser and step."""

    step: jax.Array
    params: Any
    batch_stats: Any
    ema: Any
    opt_state: Any

    @property
    def variables(self) -> dict:
        """What a sampler needs: the averaged parameters and the BatchNorm statistics."""
        return {"params": self.ema, "batch_stats": self.batch_stats}


def init_state(variables: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """The state at step 0 of a model's freshly drawn variables."""
    params = variables["params"]
    ema = jax.tree.map(jnp.copy, params)  # a buffer held twice could not be donated
    return TrainState(jnp.int32(0), params, variables.get("batch_stats", {}), ema, optimizer.init(params))


def gradients(objective: Objective, state: TrainState, batch: dict, key: jax.Array):
    """(loss, gradients like params, updated batch_stats) of one batch."""

    def mean_loss(params):
        losses, batch_stats = objective(params, state.batch_stats, batch, key, train=True)
        return losses.mean(), batch_stats

    (loss, batch_stats), grads = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
    return loss, grads, batch_stats


def update(optimizer, state: TrainState, grads, batch_stats, ema_decay: float) -> TrainState:
    """One optimiser step and one step of the average ema <- decay * ema + (1 - decay) * params.

    The decay warms up as (1 + n) / (10 + n), so that early steps do not average in the initial weights.
    """
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step)) if ema_decay else 0.0
    ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state.ema, params)
    return replace(
        state, step=state.step + 1, params=params, batch_stats=batch_stats, ema=ema, opt_state=opt_state
    )


def make_train_step(objective: Objective, optimizer: optax.GradientTransformation, ema_decay: float):
    """train_step(state, batch, key) -> (state, {"loss", "grad_norm"}): `gradients`, then `update`."""

    def train_step(state: TrainState, batch: dict, key: jax.Array):
        loss, grads, batch_stats = gradients(objective, state, batch, jax.random.fold_in(key, state.step))
        metrics = {"loss": loss, "grad_norm": optax.global_norm(grads)}
        return update(optimizer, state, grads, batch_stats, ema_decay), metrics

    return train_step


def make_eval_step(objective: Objective):
    """eval_step(variables, batch, key) -> sum of the losses of the images whose "weight" is 1, float32."""

    def eval_step(variables: dict, batch: dict, key: jax.Array):
        losses, _ = objective(variables["params"], variables["batch_stats"], batch, key, train=False)
        return (losses * batch["weight"]).sum()

    return eval_step
