"""Everything a training run holds between two steps."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cdm_jax.fault import Fault, look, no_fault, squares
from cdm_jax.objectives.loss import Objective
from cdm_jax.pieces import Split, gradients_in_pieces


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What the next step depends on besides its batch.

    Attributes:
      step: int32, steps taken; key: uint32 [2], bits of the run's key, from which each step folds its own.
      params, batch_stats, opt_state: parameters, BatchNorm statistics, the optimiser's state.
      ema: averaged parameters, equal in shape to `params`.
      fault: the first step that gave no number; never in a checkpoint, as no checkpoint is made after it.
    """

    step: jax.Array
    key: jax.Array
    params: Any
    batch_stats: Any
    ema: Any
    opt_state: Any
    fault: Fault

    @property
    def variables(self) -> dict:
        """What a sampler needs: the averaged parameters and the BatchNorm statistics."""
        return {"params": self.ema, "batch_stats": self.batch_stats}

    @property
    def trees(self) -> dict[str, Any]:
        """What a checkpoint holds: `variables` apart from the rest, which a sampler need not read."""
        rest = {"step": self.step, "key": self.key, "params": self.params, "opt_state": self.opt_state}
        return {"variables": self.variables, "rest": rest}

    def with_trees(self, trees: dict[str, Any]) -> "TrainState":
        """This state with everything that `trees` holds."""
        variables, rest = trees["variables"], trees["rest"]
        return replace(self, ema=variables["params"], batch_stats=variables["batch_stats"], **rest)


def init_state(
    variables: dict, optimizer: optax.GradientTransformation, key: jax.Array, images: int
) -> TrainState:
    """The state at step 0 of a model's freshly drawn variables.

    Args: key: one typed key; images: in a batch.
    """
    params = variables["params"]
    return TrainState(
        step=jnp.int32(0),
        key=jax.random.key_data(key),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        ema=jax.tree.map(jnp.copy, params),  # a buffer held twice could not be donated
        opt_state=optimizer.init(params),
        fault=no_fault(images),
    )


def gradients(objective: Objective, state: TrainState, batch: dict, key: jax.Array):
    """(losses [B], gradients like params of their mean, updated batch_stats) of one batch."""

    def mean_loss(params):
        losses, batch_stats = objective(params, state.batch_stats, batch, key, train=True)
        return losses.mean(), (losses, batch_stats)

    grads, (losses, batch_stats) = jax.grad(mean_loss, has_aux=True)(state.params)
    return losses, grads, batch_stats


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


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    ema_decay: float,
    *,
    split: Split | None = None,
    check: bool = True,
):
    """train_step(state, batch) -> (state, {"loss", "grad_norm", "param_norm"}): `gradients`, then `update`.

    A batch of several processes also has "stop" [B], whether a row's process was asked to, and metrics whether any.

    Args:
      split: cuts a batch into the pieces that gradients are accumulated over; None: all at once.
      check: note the first number that is not finite in `state.fault`; off for measurements alone.
    """

    def train_step(state: TrainState, batch: dict):
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        if split is None:
            losses, grads, batch_stats = gradients(objective, state, batch, key)
        else:
            losses, grads, batch_stats = gradients_in_pieces(objective, state, batch, key, split)
        new = update(optimizer, state, grads, batch_stats, ema_decay)
        of_grads = squares(grads)
        metrics = {"loss": losses.mean(), "grad_norm": jnp.sqrt(of_grads.sum())}
        if check:
            of_params = squares(new.params)
            metrics["param_norm"] = jnp.sqrt(of_params.sum())
            sums = jnp.concatenate([of_grads, of_params, squares(batch_stats)])
            new = replace(new, fault=look(state.fault, new.step, losses, sums))
        if "stop" in batch:
            metrics["stop"] = batch["stop"].any()
        return new, metrics

    return train_step


def make_eval_step(objective: Objective):
    """eval_step(variables, batch, key) -> sum of the losses of the images whose "weight" is 1, float32."""

    def eval_step(variables: dict, batch: dict, key: jax.Array):
        losses, _ = objective(variables["params"], variables["batch_stats"], batch, key, train=False)
        return (losses * batch["weight"]).sum()

    return eval_step
