"""How a training state is kept on disk (Orbax): the last step and the best one by validation loss."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from cdm_jax.differences import differences, summary
from cdm_jax.errors import CheckpointError
from cdm_jax.train_state import TrainState

WORST = 1e30  # Orbax deletes the best checkpoint when a metric is not finite


def _options() -> ocp.CheckpointManagerOptions:
    keep = checkpoint_managers.preservation_policy
    best = keep.BestN(get_metric_fn=lambda metrics: metrics["val_loss"], reverse=True, n=1)
    return ocp.CheckpointManagerOptions(
        preservation_policy=keep.AnyPreservationPolicy([keep.LatestN(1), best]),
        best_fn=lambda metrics: metrics["val_loss"],
        best_mode="min",
        cleanup_tmp_directories=True,
    )


@contextlib.contextmanager
def manager(workdir: str | Path) -> Iterator[ocp.CheckpointManager]:
    """Orbax manager of `workdir/checkpoints`; waits for a pending save on exit."""
    folder = (Path(workdir) / "checkpoints").absolute()
    handlers = {name: ocp.StandardCheckpointHandler() for name in ("variables", "rest")}
    with ocp.CheckpointManager(folder, options=_options(), item_handlers=handlers) as checkpoints:
        yield checkpoints


def save(checkpoints: ocp.CheckpointManager, state: TrainState, val_loss: float) -> None:
    """Save `state` asynchronously as its step, in two parts: what a sampler needs, and the rest."""
    rest = {"step": state.step, "params": state.params, "opt_state": state.opt_state}
    items = ocp.args.Composite(
        variables=ocp.args.StandardSave(state.variables), rest=ocp.args.StandardSave(rest)
    )
    metrics = {"val_loss": val_loss if math.isfinite(val_loss) else WORST}
    checkpoints.save(int(state.step), args=items, metrics=metrics, force=True)


def restore(checkpoints: ocp.CheckpointManager, like: TrainState) -> TrainState:
    """The last saved state, with the structure, shapes and devices of `like`.

    Raises:
      CheckpointError: there is none, it is damaged, or it belongs to another architecture.
    """
    step = _step(checkpoints, checkpoints.latest_step())
    rest = {"step": like.step, "params": like.params, "opt_state": like.opt_state}
    saved = _restore(checkpoints, step, variables=like.variables, rest=rest)
    return TrainState(
        ema=saved["variables"]["params"], batch_stats=saved["variables"]["batch_stats"], **saved["rest"]
    )


def restore_variables(workdir: str | Path, like: dict) -> tuple[dict, int]:
    """(variables, step) of the best saved step of `workdir`, shaped like `like`.

    Raises:
      CheckpointError: as `restore`.
    """
    if not (Path(workdir) / "checkpoints").is_dir():
        raise CheckpointError(
            f"{workdir}: no checkpoints here; train first with 'cdm train --workdir={workdir}'"
        )
    with manager(workdir) as checkpoints:
        step = _step(checkpoints, checkpoints.best_step())
        return _restore(checkpoints, step, variables=like)["variables"], step


def _step(checkpoints: ocp.CheckpointManager, step: int | None) -> int:
    if step is None:
        raise CheckpointError(f"{checkpoints.directory}: holds no finished checkpoint; train first")
    return step


def _restore(checkpoints: ocp.CheckpointManager, step: int, **like) -> dict:
    folder = checkpoints.directory / str(step)
    try:
        saved = checkpoints.item_metadata(step)
        for name, tree in like.items():
            if differing := differences(_shapes(saved[name]), _shapes(tree)):
                raise CheckpointError(f"{folder}: checkpoint of another architecture ({summary(differing)})")
        args = {name: ocp.args.StandardRestore(_abstract(tree)) for name, tree in like.items()}
        return checkpoints.restore(step, args=ocp.args.Composite(**args))
    except CheckpointError:
        raise
    except Exception as error:  # Orbax and TensorStore raise a dozen types for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{folder}: damaged or incomplete checkpoint ({reason})") from error


def _abstract(tree):
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    return {_name(path): tuple(leaf.shape) for path, leaf in leaves}


def _name(path) -> str:
    return "/".join(
        str(getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", "")))) for entry in path
    )
