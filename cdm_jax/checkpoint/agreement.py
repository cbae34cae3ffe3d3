"""How do several processes act on one decision?"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from cdm_jax.errors import CdmError, CheckpointError, DivergedError, PeerError, StoppedError, UsageError
from cdm_jax.session.failures import first_line

Value = TypeVar("Value")

KINDS: dict[str, Callable[[str, int], CdmError]] = {
    "UsageError": lambda text, _: UsageError(text),
    "CheckpointError": lambda text, _: CheckpointError(text),
    "DivergedError": lambda text, _: DivergedError(text),
    "StoppedError": StoppedError,
}
"""The errors that cross processes, each from its text and exit code."""


def decided_by_first(decide: Callable[[], Value]) -> Value:
    """What `decide` returns (something JSON holds) in process 0, in every process; all must call.

    Raises: what it raises there; in the others one of the same kind (see `KINDS`), text and exit code, else
    CheckpointError.
    """
    if jax.process_count() == 1:
        return decide()
    answer: dict[str, Any] = {}
    error = None
    if jax.process_index() == 0:
        try:
            answer = {"value": decide()}
        except PeerError:  # nobody to tell
            raise
        except Exception as caught:  # any: the others wait
            answer, error = _described(caught), caught
    answer = json.loads(_broadcast(json.dumps(answer).encode()))
    if error is not None:
        raise error
    if "error" in answer:
        raise KINDS[answer["kind"]](answer["error"], answer["code"])
    return answer["value"]


def _described(error: Exception) -> dict[str, Any]:
    """An error as JSON holds it."""
    kind = next((base.__name__ for base in type(error).__mro__ if base.__name__ in KINDS), "CheckpointError")
    return {"error": str(error) or first_line(error), "kind": kind, "code": getattr(error, "exit_code", 1)}


def _broadcast(text: bytes) -> bytes:
    """The bytes of process 0."""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    own = np.frombuffer(text.ljust(length)[:length], np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(own)).astype(np.uint8).tobytes()
