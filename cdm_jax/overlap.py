"""How do host and device work at several items at once?"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice


def overlap(
    items: Iterable,
    prepare: Callable,
    launch: Callable,
    finish: Callable,
    *,
    workers: int = 2,
    depth: int = 3,
) -> Iterator[Future]:
    """A future of finish(launch(prepare(item))) for every item, in order.

    `prepare` and `finish` run on threads. `launch` runs in the caller's thread, in order, and should only queue
    work on a device: while it computes one item, the next are prepared and the last are finished. An error of
    `prepare` or `finish` stays in its item's future; one of `launch` is raised.

    Args: depth: items between `prepare` and the caller at most, twice: as many before the device as behind it.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(prepare, item) for item in islice(waiting, depth))
        behind: deque[Future] = deque()
        while ahead:
            prepared = ahead.popleft()
            failed = prepared.exception() is not None
            behind.append(prepared if failed else pool.submit(finish, launch(prepared.result())))
            ahead.extend(pool.submit(prepare, item) for item in islice(waiting, 1))
            if len(behind) == depth:
                yield behind.popleft()
        yield from behind
