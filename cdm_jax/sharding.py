"""How is one pure function over a batch spread over several devices?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cdm_jax.errors import UsageError

AXIS = "batch"


@dataclass(frozen=True, eq=False)
class Spread:
    """function(variables, *batch) -> out, with every array of `batch` and of `out` [B, ...] cut over the devices.

    place(variables) puts a copy of the variables on every device; do it once, and hand over what it returns.
    Calling it returns as soon as the work is queued. B need not be a multiple of the number of devices: the
    batch is padded with its own first rows, and the result is cut.
    """

    devices: tuple[jax.Device, ...]
    place: Callable[[Any], Any]
    run: Callable[..., Any]

    def __call__(self, variables: Any, *batch: Any) -> Any:
        count = len(jax.tree.leaves(batch)[0])
        local = sum(device.process_index == jax.process_index() for device in self.devices)
        padded = -(-count // local) * local
        if padded != count:
            rows = np.arange(padded) % count
            batch = jax.tree.map(lambda array: array[rows], batch)
        out = self.run(variables, *batch)
        return out if padded == count else jax.tree.map(lambda array: array[:count], out)


def pick_devices(count: int | None = None) -> tuple[jax.Device, ...]:
    """The first `count` devices of this process, all of them for None.

    Raises: UsageError: there are fewer, or none are asked for.
    """
    there = jax.local_devices()
    if count is not None and not 1 <= count <= len(there):
        raise UsageError(
            f"{count} devices asked for, but this machine has {len(there)} ({there[0].platform})"
        )
    return tuple(there[:count])


def check_dtype(device: jax.Device, dtype: str) -> None:
    """Raise UsageError unless `device` multiplies matrices of `dtype`."""
    try:
        with jax.default_device(device):
            ones = jnp.ones((8, 8), dtype)
            (ones @ ones).block_until_ready()
    except (jax.errors.JaxRuntimeError, NotImplementedError, TypeError, ValueError) as error:
        raise UsageError(f"{device.device_kind} cannot compute in {dtype}: choose float32") from error


def over_mesh(function: Callable, devices: Sequence[jax.Device], donate: Sequence[int] = ()) -> Spread:
    """`jit` over a mesh of the devices, the batch cut by `NamedSharding`.

    The devices may belong to several processes: each then calls with its own rows, as many as the others, and
    gets its own back.

    Args: donate: positions among function's arguments (0 is `variables`) whose memory the result may take.
    """
    mesh = Mesh(np.asarray(devices), (AXIS,))
    rows, whole = NamedSharding(mesh, P(AXIS)), NamedSharding(mesh, P())

    def on_own_rows(variables, *batch):
        # Left to itself, jit gathers the members of an ensemble and lets every device compute all of them.
        specs = (P(), *(P(AXIS) for _ in batch))
        return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P(AXIS), check_vma=False)(
            variables, *batch
        )

    compiled = jax.jit(on_own_rows, out_shardings=rows, donate_argnums=tuple(donate))
    if len({device.process_index for device in devices}) == 1:
        return Spread(
            tuple(devices),
            lambda variables: jax.device_put(variables, whole),
            lambda variables, *batch: compiled(variables, *jax.device_put(batch, rows)),
        )

    def run(variables, *batch):
        parts = jax.tree.map(lambda array: jax.make_array_from_process_local_data(rows, array), batch)
        return multihost_utils.global_array_to_host_local_array(compiled(variables, *parts), mesh, P(AXIS))

    def place(variables):
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(whole, np.asarray(leaf)), variables
        )

    return Spread(tuple(devices), place, run)


def over_pmap(function: Callable, devices: Sequence[jax.Device], donate: Sequence[int] = ()) -> Spread:
    """`pmap` over the devices of this process; arguments as for `over_mesh`."""
    count = len(devices)
    each = NamedSharding(Mesh(np.asarray(devices), (AXIS,)), P(AXIS))
    compiled = jax.pmap(function, axis_name=AXIS, devices=devices, donate_argnums=tuple(donate))

    def place(variables):
        def copies(leaf):
            return jax.device_put(np.broadcast_to(np.asarray(leaf), (count, *np.shape(leaf))), each)

        return jax.tree.map(copies, variables)

    def run(variables, *batch):
        cut = jax.tree.map(lambda array: array.reshape(count, -1, *array.shape[1:]), batch)
        out = compiled(variables, *cut)
        return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), out)

    return Spread(tuple(devices), place, run)


WRAPPINGS = {"jit": over_mesh, "pmap": over_pmap}
"""How to spread: wrap(function, devices, donate) -> `Spread`; same numbers from both."""
