"""How do processes on several hosts become one run that ends when one of them is gone?"""

import atexit
import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator

import jax

from cdm_jax.errors import CdmError, PeerError, StoppedError, UsageError

GRACE = 5.0
"""Seconds that a process whose runtime gives up has for ending by itself, with its own message."""

LOST = (
    "gloo", "connection closed", "connection reset", "connection refused", "socket closed", "broken pipe",
    "unavailable", "heartbeat", "disconnected", "unhealthy", "coordination service", "coordination_service",
    "deadline_exceeded", "barrier", "remote process exited", "ncclremoteerror", "ncclsystemerror", "preempted",
)  # fmt: skip
"""What stands (in small letters) in the error of a collective whose other side is gone."""

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    *,
    patience: float = 300,
    heartbeat: float = 30,
) -> None:
    """Join the other processes of this run, if there are any; to be called before anything else of JAX.

    Without arguments SLURM (srun), Open MPI or a Cloud TPU slice on GKE is asked, and a process that is alone
    stays so. Elsewhere give all three, on every host: HOST:PORT of process 0, their number, this one's number.

    Args:
      patience: seconds that the processes wait for each other at the start.
      heartbeat: seconds of silence after which a process counts as gone; some seconds later all others end.
    Raises: UsageError: an argument is missing or impossible, or process 0 cannot be reached.
    """
    _refuse(coordinator, processes, process_id)
    launcher = "deactivate" if coordinator else _launcher()
    if launcher is None:
        return
    if coordinator and process_id:
        _wait_for(coordinator, patience)
    # Its SIGTERM handler would stand beside ours.
    jax.config.update("jax_enable_preemption_service", False)
    late = (
        f"cdm: not all processes came together within {patience:.0f} s; start them all, with the same options"
    )
    _on_abort(lambda: _end(late, UsageError.exit_code))
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process_id,
            cluster_detection_method=launcher,
            initialization_timeout=int(patience),
            heartbeat_timeout_seconds=int(heartbeat),
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"the processes of the run cannot be joined: {_line(error)}") from error
    if not coordinator and "JAX_LOCAL_DEVICE_IDS" not in os.environ and _alone_on_host():
        jax.config.update("jax_cuda_visible_devices", "all")  # JAX takes one a process under SLURM and MPI
    _on_abort(_give_up)


@contextlib.contextmanager
def peers_watched() -> Iterator[None]:
    """Turn the failure of a collective, because another process is gone, into PeerError.

    To be put around all that follows `start`. A process that fails in here leaves without waiting for the others,
    which then learn of it at once; without other processes nothing changes.
    Raises: PeerError: another process is gone.
    """
    try:
        yield
    except StoppedError:
        raise  # all processes stop together
    except BaseException as error:
        if not jax.distributed.is_initialized():
            raise
        lost = not isinstance(error, CdmError) and _is_loss(error)
        code = PeerError.exit_code if lost else getattr(error, "exit_code", 1)
        atexit.register(_leave, code)  # before JAX's own farewell, which waits for the others
        if lost:
            raise PeerError(_gone()) from error
        raise


def _refuse(coordinator: str | None, processes: int | None, process_id: int | None) -> None:
    """Raises: UsageError: one of the three is missing or impossible."""
    given = {"--coordinator": coordinator, "--num-processes": processes, "--process-id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return
    if missing:
        raise UsageError(f"{', '.join(missing)} missing: give all of {', '.join(given)}, or none of them")
    assert coordinator is not None and processes is not None and process_id is not None
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdigit()):
        raise UsageError(f"--coordinator={coordinator}: must be HOST:PORT of process 0")
    if not 0 <= process_id < processes:
        raise UsageError(
            f"--process-id={process_id}: must be from 0 to {processes - 1}, --num-processes less one"
        )


def _launcher() -> str | None:
    """The name by which JAX knows the launcher of this process, None if it started no others.

    SLURM_STEP_NUM_TASKS stands under srun only: in a batch script itself SLURM_NTASKS says how many there could be.
    """
    if _count("SLURM_STEP_NUM_TASKS") > 1:
        return "slurm"
    if _count("OMPI_COMM_WORLD_SIZE") > 1:
        if "OMPI_MCA_orte_hnp_uri" not in os.environ:
            raise UsageError(
                "this Open MPI does not tell where process 0 is: give --coordinator HOST:PORT "
                "--num-processes $OMPI_COMM_WORLD_SIZE --process-id $OMPI_COMM_WORLD_RANK"
            )
        return "ompi"
    hosts = os.environ.get("TPU_PROCESS_ADDRESSES") or os.environ.get("TPU_WORKER_HOSTNAMES", "")
    return "gketpu" if "," in hosts or hosts and _count("MEGASCALE_NUM_SLICES") > 1 else None


def _alone_on_host() -> bool:
    """Whether SLURM or Open MPI started one process on each host, which then has all its devices."""
    tasks, nodes = _count("SLURM_STEP_NUM_TASKS"), _count("SLURM_STEP_NUM_NODES")
    return 1 < tasks == nodes or _count("OMPI_COMM_WORLD_LOCAL_SIZE") == 1


def _count(name: str) -> int:
    """A number in the environment, 0 without."""
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else 0


def _wait_for(coordinator: str, patience: float) -> None:
    """Raises: UsageError: process 0 does not answer in time; JAX itself would abort."""
    host, _, port = coordinator.rpartition(":")
    deadline = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > deadline:
                raise UsageError(
                    f"--coordinator={coordinator}: process 0 does not answer there within {patience:.0f} s ({error})"
                ) from error
            time.sleep(min(1.0, patience / 10))


def _on_abort(act: Callable[[], None]) -> None:
    """Call `act` when C++ aborts this process.

    The distributed runtime aborts, with a stack trace and whatever Python does, as soon as it hears that another
    process is gone. Python's own handlers never run then; one called from C does, on the thread that aborts.
    """
    handler = _HANDLER(lambda _: act())
    install = ctypes.CDLL(None).signal
    install.argtypes, install.restype = [ctypes.c_int, _HANDLER], ctypes.c_void_p
    install(signal.SIGABRT, handler)
    _KEPT.append(handler)


_KEPT: list = []  # what C points at must not be collected


def _give_up() -> None:
    """Let the main thread end with its own message, which it mostly does; else end for it."""
    time.sleep(GRACE)
    _end(f"cdm: {_gone()}", PeerError.exit_code)


def _gone() -> str:
    return "another process of this run is gone; start all of them again: they go on from the last checkpoint"


def _end(line: str, code: int) -> None:
    os.write(2, f"\n{line}\n".encode())
    os._exit(code)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _is_loss(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is the runtime's and tells of another process's end."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, jax.errors.JaxRuntimeError) and any(word in text for word in LOST):
            return True
        error = error.__cause__ or error.__context__
    return False


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
