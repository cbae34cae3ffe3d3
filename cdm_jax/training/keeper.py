"""Which checkpoints does a run make, and which of them were the best?"""

import math
from collections.abc import Callable

from cdm_jax.checkpoint import Writer
from cdm_jax.session.goodput import Goodput
from cdm_jax.train_state import TrainState
from cdm_jax.training.watch import AnyWatch

Best = list[list[float]]
"""[[step, validation loss], ...], the best first."""


class Keeper:
    """Validates and saves.

    Attributes: best: the table of the best `most` checkpoints so far; val_loss: the last validation's.
    """

    def __init__(
        self,
        writer: Writer,
        validate: Callable,
        watch: AnyWatch,
        goodput: Goodput,
        facts: dict,
        most: int,
    ):
        """Args: facts: what the checkpoint says that the run goes on from; {} at the beginning."""
        self.writer, self.validate, self.watch, self.goodput = writer, validate, watch, goodput
        self.best: Best = facts.get("best", [])
        self.val_loss = loss_in(facts)
        self.most, self.saving = most, -1

    def keep(self, state: TrainState, step: int, validate: bool) -> None:
        """Begin to save `state`, after a validation if asked."""
        if validate:
            with self.goodput.spend("validation"):
                self.val_loss, pictures = self.validate(state)
            self.watch.validated(step, self.val_loss, pictures)
            if not math.isfinite(self.val_loss):
                self.watch.event(
                    step, f"the validation loss of step {step} is {self.val_loss}: it can never be best"
                )
            self.best = with_new(self.best, step, self.val_loss, self.most)
        with self.goodput.spend("checkpoint"):
            self.writer.save(step, state.trees, {"val_loss": self.val_loss, "best": self.best})
        self.saving = step
        self.watch.alive()

    def look(self, step: int) -> None:
        """Tell of a save that failed in the background; the next one is tried as if nothing had been.

        Raises: CheckpointError: no space is left.
        """
        if failure := self.writer.failure():
            if failure.full:
                raise failure
            self.best = [row for row in self.best if row[0] != self.saving]
            self.watch.event(step, f"a checkpoint could not be kept: {failure}")

    def finish(self) -> None:
        """Wait for the last save. Raises: CheckpointError: it failed."""
        with self.goodput.spend("checkpoint"):
            self.writer.wait()


def with_new(best: Best, step: int, val_loss: float, most: int) -> Best:
    """The `most` lowest of a table and one more; a loss that is no number is never among them, ties keep the older."""
    rows = best + ([[step, val_loss]] if math.isfinite(val_loss) else [])
    return sorted(rows, key=lambda row: (row[1], row[0]))[:most]


def loss_in(facts: dict) -> float:
    """The last validation loss that a checkpoint tells of; NaN where there was none, or it was no number."""
    found = facts.get("val_loss")
    return math.nan if found is None else found
