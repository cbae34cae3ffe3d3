"""How does a pretrained encoder enter a model that is about to be trained?"""

from dataclasses import dataclass
from pathlib import Path

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from cdm_jax import config as configs
from cdm_jax import methods
from cdm_jax.architecture import listed
from cdm_jax.errors import CheckpointError, UsageError
from cdm_jax.weights import ENCODER_FILE, read_encoder, read_variables

HEAD = ("fc", "head")
"""Beginnings of the modules that follow the encoder's last stage: pretraining has none, so they stay as drawn."""


@dataclass(frozen=True)
class Graft:
    """Names of the weights that were taken, left in the pretraining run, or stay freshly drawn in the encoder."""

    taken: tuple[str, ...]
    left: tuple[str, ...]
    drawn: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.taken)} weights taken, {len(self.left)} left, {len(self.drawn)} of the head stay as drawn"

    def listing(self) -> str:
        """One line a weight."""
        kinds = {"taken": self.taken, "left": self.left, "drawn": self.drawn}
        return "".join(f"{kind} {name}\n" for kind, names in kinds.items() for name in names)


def graft_encoder(variables: dict, source: str | Path) -> tuple[dict, Graft]:
    """`variables` with all encoder weights and statistics but the head's from the run in `source`.

    Raises:
      UsageError: the model has no encoder.
      CheckpointError: `source` holds no usable run, or its encoder is another architecture (every differing
        name is listed).
    """
    given, own = (flatten_dict(tree, sep="/") for tree in (read_pretrained(source), variables))
    wanted = {name for name in own if name.split("/")[1] == "encoder"}
    if not wanted:
        raise UsageError("config.encoder.init: this model has no encoder to start from it")
    drawn = {name for name in wanted if name.split("/")[2].startswith(HEAD)}
    taken, left = wanted - drawn, given.keys() - (wanted - drawn)
    _refuse_differences(source, own, given, taken, left)
    grafted = unflatten_dict(own | {name: given[name] for name in taken}, sep="/")
    return grafted, Graft(*(tuple(sorted(names)) for names in (taken, left, drawn)))


def read_pretrained(source: str | Path) -> dict:
    """The variables of an imported encoder in `source`, or else of the best checkpoint there."""
    if (Path(source) / ENCODER_FILE).exists():
        return read_encoder(Path(source) / ENCODER_FILE)
    config = configs.read(Path(source) / "config.json")
    network = methods.model(config)
    like = jax.eval_shape(lambda: methods.init_variables(config, network))
    return read_variables(source, like)[0]


def _refuse_differences(source, own: dict, given: dict, taken: set, left: set) -> None:
    """Every weight must find its like, and no encoder weight may be left over but a head's."""
    over = {n for n in left if n.split("/")[1] == "encoder" and not n.split("/")[2].startswith(HEAD)}
    shapes = [f"{n} {given[n].shape} instead of {own[n].shape}" for n in sorted(taken & given.keys())
              if given[n].shape != own[n].shape]  # fmt: skip
    lists = {"missing": sorted(taken - given.keys()), "unexpected": sorted(over), "misshapen": shapes}
    if any(lists.values()):
        told = "; ".join(f"{len(names)} {kind}: {listed(names)}" for kind, names in lists.items() if names)
        raise CheckpointError(f"{source}: its encoder is of another architecture ({told})")
