"""The smallest run that holds all a state can, in a process that may be killed: what does a test of its end need?"""

import contextlib
import functools
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SIZE = (8, 8, 8)
OVERRIDES = (
    "--config.preprocess.spacing=24.0",
    f"--config.preprocess.shape={SIZE}".replace(" ", ""),
    "--config.preprocess.curvature=False",
    "--config.model.objective=small",
    "--config.data.workers=1",
    "--config.train.batch=4",
    "--config.train.devices=1",
    "--config.train.warmup=4",
    "--config.train.log_every=1",
    "--config.train.keep_best=2",
)


IMPORTS = (
    "cdm_jax.train",
    "grain",
    "matplotlib.figure",
    "nibabel",
    "orbax.checkpoint",
    "scipy.ndimage",
    "SimpleITK",
)
"""What a run imports: the process that it is forked from has done so already."""


def register() -> None:
    """Add the method "small": one convolution, BatchNorm, dropout, noise drawn from the step's key."""
    import flax.linen as nn
    import jax

    from cdm_jax.methods import METHODS
    from cdm_jax.methods.method import Method
    from cdm_jax.models.batch_norm import BatchNorm
    from cdm_jax.objectives import OBJECTIVES
    from cdm_jax.objectives.apply import apply_model
    from cdm_jax.objectives.loss import Objective
    from cdm_jax.reconstruct import make_direct

    class Small(nn.Module):
        @nn.compact
        def __call__(self, image, train):
            x = nn.Conv(2, (3, 3))(image)
            x = nn.Dropout(0.1, deterministic=not train)(BatchNorm()(x, train))
            return nn.Conv(1, (1, 1))(x)

        def reconstruct(self, image):
            return self(image, False)

    def small(model):
        def whole(params, batch_stats, batch, key, train):
            noised = batch["image"] + 0.1 * jax.random.normal(key, batch["image"].shape)
            if train:
                image_hat, batch_stats = apply_model(model, params, batch_stats, key, noised, train)
            else:
                image_hat = model.apply({"params": params, "batch_stats": batch_stats}, noised, train)
            return image_hat, batch["image"], batch_stats

        return Objective(whole, lambda params, out, image, *_: ((out - image) ** 2).mean((1, 2, 3)), False)

    METHODS["small"] = Method(
        lambda config: "small",
        lambda config: Small(),
        lambda image, t: (image, False),
        lambda config: {},
        lambda config, network: make_direct(network),
    )
    OBJECTIVES["small"] = small


def small_config(cohort: Path, *more: str):
    """The config of a small run on `cohort`; call `register` first."""
    from cdm_jax import config

    return config.load("configs/demo.py", [*OVERRIDES, f"--config.data.root={cohort}", *more])


@functools.cache
def abstract_trees(cohort: Path) -> dict:
    """What a checkpoint of a small run holds, as shapes."""
    from cdm_jax.training.trainer import make_trainer

    return make_trainer(small_config(cohort)).abstract.trees


def result(workdir: Path, cohort: Path) -> dict:
    """What must not depend on how often a run was stopped: SHA-256 of its last state, its log, its best table."""
    import jax
    import numpy as np

    from cdm_jax import checkpoint, metric_log

    step = checkpoint.steps(workdir)[-1]
    trees, facts = checkpoint.restore(workdir, step, abstract_trees(cohort))
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
        digest.update(f"{path} {leaf.shape} {leaf.dtype}".encode() + np.asarray(leaf).tobytes())
    told = [
        {name: value for name, value in record.items() if name != "slices_per_second"}
        for record in metric_log.read(workdir / "metrics.jsonl")
        if "event" not in record
    ]
    return {"step": step, "state": digest.hexdigest(), "best": facts["best"], "told": told}


class Run:
    """One `cdm train` in a process of its own; what it prints goes to the file `log`."""

    def __init__(self, server: subprocess.Popen, log: Path, pid: int):
        self.server, self.log, self.pid = server, log, pid

    def text(self) -> str:
        return self.log.read_text()

    def began_at(self) -> int | None:
        """The step that it goes on from, 0 for the beginning; None if it has not said yet."""
        said = re.search(r"^(started anew|resumed from step (\d+) of)", self.text(), re.MULTILINE)
        return int(said[2] or 0) if said else None

    def signal(self, number: int) -> None:
        """Send a signal; to a process that has ended it does nothing."""
        os.kill(self.pid, number)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when `condition()` holds, or the process has ended."""
        while not (condition() or self.ended()):
            time.sleep(0.003)

    def ended(self) -> bool:
        """Whether it is a zombie: the server takes its number back in `wait` only."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    def wait(self) -> int:
        """The exit code, -9 for SIGKILL."""
        self.server.stdin.write("\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())


@contextlib.contextmanager
def launcher(cohort: Path) -> Iterator[Callable[..., Run]]:
    """launch(workdir, *overrides) -> Run, one at a time; each is forked from a process that has imported all."""
    environment = os.environ | {
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace(
            "host_platform_device_count=8", "host_platform_device_count=1"
        ),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    server = subprocess.Popen(
        [sys.executable, __file__], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def launch(workdir: Path, *overrides: str) -> Run:
        arguments = [
            "train",
            "--config=configs/demo.py",
            f"--workdir={workdir}",
            f"--config.data.root={cohort}",
        ]
        log = workdir.with_suffix(".log")
        server.stdin.write(json.dumps([str(log), [*arguments, *OVERRIDES, *overrides]]) + "\n")
        server.stdin.flush()
        return Run(server, log, int(server.stdout.readline()))

    try:
        yield launch
    finally:
        server.stdin.close()
        server.wait(60)


def serve() -> None:
    """For each line [log, arguments]: fork `cdm`, tell its pid; at the next line wait for it, tell its exit code."""
    from cdm_jax import compilation
    from cdm_jax.cli.main import main

    for name in IMPORTS:
        importlib.import_module(name)
    register()
    compilation.enable_cache = lambda: None  # it keeps nothing so small; the environment says to
    for line in sys.stdin:
        log, arguments = json.loads(line)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        pid = os.fork()
        if pid == 0:
            os.dup2(output, 1)
            os.dup2(output, 2)
            code = main(arguments)
            sys.stdout.flush()
            os._exit(code)
        os.close(output)
        print(pid, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
