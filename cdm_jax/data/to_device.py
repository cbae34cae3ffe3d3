"""How do the next batches get onto the device while it computes on this one?"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax


def to_device(batches: Iterable, place: Callable[[Any], Any] = jax.device_put, depth: int = 2) -> Iterator:
    """Yield place(batch) of every batch, in order, so that `depth` of them are on the device or on their way.

    Args:
      place: puts a batch on devices and returns at once, as `jax.device_put` does; where several hosts each hold a
        part, `jax.make_array_from_process_local_data` of its leaves.
    Raises: what `batches` and `place` raise, after the batches that came before.
    """
    ahead: deque = deque()
    try:
        for batch in batches:
            ahead.append(place(batch))
            if len(ahead) >= depth:
                yield ahead.popleft()
    except Exception:
        yield from ahead
        raise
    yield from ahead
