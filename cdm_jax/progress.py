"""How far a long loop has come: a bar on a terminal, plain lines elsewhere, always on stderr."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

LINES = 5  # plain lines a loop


class Progress:
    """A counter from `start` to `total` that shows itself; `note` stands beside the count."""

    def __init__(self, total: int, what: str, unit: str, start: int = 0):
        self.total, self.what, self.unit, self.done = total, what, unit, start
        self.began, self.start = time.monotonic(), start
        self.bar = tqdm(total=total, desc=what, unit=unit, initial=start) if sys.stderr.isatty() else None

    def advance(self, note: str = "") -> None:
        self.done += 1
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update()
        elif (
            self.done == self.total or self.done * LINES // self.total > (self.done - 1) * LINES // self.total
        ):
            rate = (self.done - self.start) / max(time.monotonic() - self.began, 1e-9)
            left = (self.total - self.done) / rate
            told = (
                f"{self.what}: {self.done}/{self.total} {self.unit}s, {rate:.3g}/s, {left:.0f} s left {note}"
            )
            print(told.rstrip(), file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()


def track(items: Iterable, total: int, what: str, unit: str) -> Iterator:
    """Yield the items, counting them aloud."""
    with Progress(total, what, unit) as progress:
        for item in items:
            yield item
            progress.advance()
