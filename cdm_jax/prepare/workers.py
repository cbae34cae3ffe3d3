"""How are subjects shared among processes?"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from cdm_jax.data.datasets.subject import Raw
from cdm_jax.errors import UsageError
from cdm_jax.prepare.job import Job, Outcome, work


def work_all(job: Job, raws: Sequence[Raw], workers: int) -> Iterator[Outcome]:
    """The outcomes as they come; one worker is this process.

    Raises:
      UsageError: a worker was killed.
    """
    workers = min(workers, len(raws))
    if workers <= 1:
        yield from map(partial(work, job), raws)
        return
    # Spawned, as a fork would copy the locks of this process's threads.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start)
    try:
        for future in as_completed([pool.submit(work, job, raw) for raw in raws]):
            yield future.result()
    except BrokenProcessPool as error:
        raise UsageError(
            "a worker was killed, most likely as memory ran out: give fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start() -> None:
    """End at once on Ctrl-C, and with the parent, however that ends: no worker writes on beside the next run."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
