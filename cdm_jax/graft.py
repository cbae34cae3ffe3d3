"""How does a pretrained encoder enter a model that is about to be trained?"""

from dataclasses import dataclass
from pathlib import Path

from flax.traverse_util import flatten_dict, unflatten_dict

from cdm_jax import config as configs
from cdm_jax import methods
from cdm_jax.differences import differences, summary
from cdm_jax.errors import CheckpointError, UsageError
from cdm_jax.weights import ENCODER_FILE, read_encoder, read_variables

HEAD = ("fc", "head")
"""The modules that follow the encoder's last stage: pretraining has none, so they stay as drawn."""


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
      CheckpointError: `source` holds no usable run, or its encoder is another architecture.
    """
    given, own = (flatten_dict(tree, sep="/") for tree in (read_pretrained(source), variables))
    trunk, wanted = _trunk(given), _trunk(own)
    if not wanted:
        raise UsageError("config.encoder.init: this model has no encoder to start from it")
    if differing := differences(_shapes(trunk), _shapes(wanted)):
        raise CheckpointError(f"{source}: its encoder is of another architecture ({summary(differing)})")
    drawn = {name for name in own if _is_encoders(name)} - wanted.keys()
    names = (wanted, given.keys() - trunk.keys(), drawn)
    return unflatten_dict(own | trunk, sep="/"), Graft(*(tuple(sorted(each)) for each in names))


def read_pretrained(source: str | Path) -> dict:
    """The variables of an imported encoder in `source`, or else of the best checkpoint there."""
    if (Path(source) / ENCODER_FILE).exists():
        return read_encoder(Path(source) / ENCODER_FILE)
    config = configs.read(Path(source) / "config.json")
    return read_variables(source, methods.variable_shapes(config))[0]


def _is_encoders(name: str) -> bool:
    return name.split("/")[1] == "encoder"


def _trunk(flat: dict) -> dict:
    """The encoder's entries but for its head's."""
    return {n: leaf for n, leaf in flat.items() if _is_encoders(n) and n.split("/")[2] not in HEAD}


def _shapes(flat: dict) -> dict[str, tuple[int, ...]]:
    return {name: leaf.shape for name, leaf in flat.items()}
