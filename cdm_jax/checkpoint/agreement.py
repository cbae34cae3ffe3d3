"""How do several processes act on one decision?"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from cdm_jax.checkpoint.failure import first_line
from cdm_jax.errors import CheckpointError

Value = TypeVar("Value")


def decided_by_first(decide: Callable[[], Value]) -> Value:
    """What `decide` returns (something JSON holds) in process 0, in every process; all must call.

    Raises: what it raises there; CheckpointError of the same text in the others.
    """
    if jax.process_count() == 1:
        return decide()
    answer: dict[str, Any] = {}
    error = None
    if jax.process_index() == 0:
        try:
            answer = {"value": decide()}
        except Exception as caught:  # any: the others wait
            answer, error = {"error": str(caught) or first_line(caught)}, caught
    answer = json.loads(_broadcast(json.dumps(answer).encode()))
    if error is not None:
        raise error
    if "error" in answer:
        raise CheckpointError(answer["error"])
    return answer["value"]


def _broadcast(text: bytes) -> bytes:
    """The bytes of process 0."""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    own = np.frombuffer(text.ljust(length)[:length], np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(own)).astype(np.uint8).tobytes()
