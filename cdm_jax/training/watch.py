"""Who is told how a run goes: its log, the trackers, the bar on the terminal, the report?"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from cdm_jax import metric_log, provenance
from cdm_jax.configs import default
from cdm_jax.files import write_text
from cdm_jax.progress import Progress
from cdm_jax.report.progress import draw_progress, draw_rows
from cdm_jax.report.training import write_training_report
from cdm_jax.session import status
from cdm_jax.session.goodput import Goodput
from cdm_jax.session.quietly import quietly
from cdm_jax.session.trackers import Trackers, trackers


class Watch:
    """Tells everyone, from process 0 alone; what fails in it is a warning, but for a full disk."""

    def __init__(
        self, workdir: Path, config: ConfigDict, goodput: Goodput, step: int, others: Trackers, bar: Progress
    ):
        self.workdir, self.config, self.goodput, self.others, self.bar = workdir, config, goodput, others, bar
        self.reached = step
        self.log = workdir / "metrics.jsonl"
        self.note = ""

    def step(self) -> None:
        """A step was taken."""
        self.reached += 1
        self.goodput.reached(self.reached)
        self.bar.advance(self.note)

    def numbers(self, step: int, numbers: dict[str, float]) -> None:
        """What is logged of a step."""
        with self.goodput.spend("report"):
            self._record(step, numbers)
            self.others.log(step, numbers)
            rate = f", {numbers['slices_per_second']:.3g} slices/s" if "slices_per_second" in numbers else ""
            self.note = f"loss {numbers['loss']:.4f}{rate}"
            self.state("running", step)

    def event(self, step: int, text: str) -> None:
        """What happened to the run, for the terminal and the log."""
        print(text, file=sys.stderr, flush=True)
        self._record(step, {"event": text})

    def validated(self, step: int, val_loss: float, pictures: dict[str, dict]) -> None:
        """A validation: its loss, and {figure: {row: images}}."""
        with self.goodput.spend("report"):
            self._record(step, {"val_loss": val_loss})
            self.others.log(step, {"val_loss": val_loss})
            with quietly("progress pictures"):
                draw_progress(
                    self.workdir / "progress.png", metric_log.read(self.log), pictures.pop("progress")
                )
                for name, rows in pictures.items():
                    draw_rows(self.workdir / f"{name}.png", rows)
            self.report()

    def _record(self, step: int, record: dict) -> None:
        with quietly(str(self.log)):
            metric_log.append(self.log, {"step": step, **record})

    def state(self, state: str, step: int, reason: str = "") -> None:
        """What the run does now."""
        self.goodput.write()
        with quietly(status.NAME):
            status.write(self.workdir, state, step=step, of=self.config.train.steps, reason=reason)

    def ended(self, state: str, reason: str = "") -> None:
        """How the run ended."""
        self.state(state, self.reached, reason)
        self.report()

    def report(self) -> None:
        """Write `metrics.csv` and `report.html` anew."""
        with quietly("report.html"):
            records = metric_log.read(self.log)
            write_text(self.workdir / "metrics.csv", metric_log.to_csv(records))
            write_training_report(
                self.workdir,
                config=self.config.to_dict(),
                environment=provenance.environment(),
                records=records,
                sessions=self.goodput.sessions(),
                status=status.read(self.workdir),
                base=default.get_config().to_dict(),
            )


class Nobody:
    """The Watch of every process but the first: it says nothing, whatever it is told."""

    def __getattr__(self, name: str):
        return lambda *_, **__: None


AnyWatch = Watch | Nobody


@contextlib.contextmanager
def watched(
    workdir: Path, config: ConfigDict, goodput: Goodput, step: int, log: Sequence[str]
) -> Iterator[AnyWatch]:
    """Yield the Watch of a run that goes on after `step`; its log is cut back to there.

    Args: log: names of trackers. Raises: UsageError: see `trackers.check`.
    """
    if jax.process_index() > 0:
        yield Nobody()
        return
    metric_log.rewind(workdir / "metrics.jsonl", step)
    with (
        trackers(log, workdir, config.to_dict(), step) as others,
        Progress(config.train.steps, "train", "step", start=step) as bar,
    ):
        yield Watch(workdir, config, goodput, step, others, bar)
