"""How do a training state and its batches lie on the devices of all hosts?"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cdm_jax.errors import UsageError

AXES = ("data", "fsdp")
"""Batches are cut over both; states over "fsdp" and copied along "data"."""

LEAST = 4096
"""Numbers in a leaf from which on it is worth being cut: gathering a small one costs more than it saves."""


def make_mesh(devices: Sequence[jax.Device], fsdp: int = 1) -> Mesh:
    """The devices in rows of `fsdp`, each row holding one copy of the state.

    Raises: UsageError: that is no divisor of their number.
    """
    if len(devices) % fsdp:
        raise UsageError(f"config.train.fsdp: {fsdp} is no divisor of {len(devices)} devices")
    return Mesh(np.asarray(devices).reshape(-1, fsdp), AXES)


def devices_for(batch: int, asked: int = 0) -> list[jax.Device]:
    """The first `asked` devices; 0: all, or of one process as many as divide the batch.

    Raises: UsageError: there are fewer, a host would be left out, or they do not divide the batch.
    """
    there = jax.devices()
    if asked > len(there):
        raise UsageError(f"{asked} devices asked for, but there are {len(there)} ({there[0].platform})")
    if jax.process_count() > 1:
        if asked not in (0, len(there)):
            raise UsageError(
                f"config.train.devices: {asked}; {jax.process_count()} processes use all {len(there)}"
            )
        asked = len(there)
    count = asked or max(n for n in range(1, len(there) + 1) if batch % n == 0)
    if batch % count:
        raise UsageError(
            f"config.train.batch: {batch} slices cannot be shared by {count} devices; give a multiple"
        )
    return there[:count]


def rows(mesh: Mesh) -> NamedSharding:
    """Of a batch: every device has its run of rows."""
    return NamedSharding(mesh, P(AXES))


def copied(mesh: Mesh) -> NamedSharding:
    """The whole of it on every device."""
    return NamedSharding(mesh, P())


def cut_state(mesh: Mesh, tree: Any, least: int = LEAST) -> Any:
    """A sharding for each leaf: along its longest axis that "fsdp" divides, or copied.

    Parameters, their average and the optimiser's moments have the same shapes, hence lie alike
    (Rajbhandari et al. 2020, section 5, stage 3).
    """
    parts = mesh.shape["fsdp"]

    def sharding(leaf) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % parts == 0]
        if parts == 1 or leaf.size < least or not axes:
            return copied(mesh)
        longest = max(axes, key=lambda axis: (leaf.shape[axis], axis))
        return NamedSharding(mesh, P(*("fsdp" if axis == longest else None for axis in range(longest + 1))))

    return jax.tree.map(sharding, tree)


def place_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """A batch on the devices; of several processes each gives its own rows, in their order."""
    if jax.process_count() == 1:
        return jax.device_put(batch, rows(mesh))
    return {name: jax.make_array_from_process_local_data(rows(mesh), value) for name, value in batch.items()}


def my_rows(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of a batch that every process has: the rows that this one gives to `place_batch`."""
    process, processes = jax.process_index(), jax.process_count()

    def mine(array):
        share = len(array) // processes
        return array[process * share : (process + 1) * share]

    return {name: mine(value) for name, value in batch.items()}


def make_split(mesh: Mesh, pieces: int) -> Callable[[Any], Any]:
    """split(tree of [B,...]) -> tree of [pieces,B/pieces,...]; a piece has rows of every device, none travels."""
    cut = NamedSharding(mesh, P(None, AXES))

    def split(array):
        parts = array.reshape(-1, pieces, *array.shape[1:]).swapaxes(0, 1)
        return jax.lax.with_sharding_constraint(parts, cut)

    return lambda tree: jax.tree.map(split, tree)


def meet(what: str) -> None:
    """Wait until every process has come to `what`; at once where there is one only."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def any_process(flag: bool) -> bool:
    """Whether `flag` is set in any process; all must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())
