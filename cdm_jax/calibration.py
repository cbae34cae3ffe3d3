"""Which threshold did a model's validation cases give, under which settings?"""

import json
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from cdm_jax.config import flatten
from cdm_jax.errors import CheckpointError
from cdm_jax.files import write_json

IRRELEVANT = {"sampler.batch", "noise.shared_train"}


@dataclass(frozen=True)
class Calibration:
    """A threshold of the anomaly map, where it came from, and the config keys that differ from those it was for."""

    value: float
    source: str
    differing: tuple[str, ...] = ()


def settings(config: ConfigDict) -> dict:
    """{"sampler.name": ...}: what the anomaly map depends on besides the trained model and the dtype."""
    flat = {key: value for key, value in flatten(config).items() if key not in IRRELEVANT}
    chosen = {
        key: value for key, value in flat.items() if key.split(".")[0] in ("sampler", "noise", "anomaly")
    }
    return json.loads(json.dumps(chosen))  # tuples become lists, as in the file


def write_calibration(path: Path, value: float, source: str, config: ConfigDict) -> None:
    """Keep a threshold beside the settings it was chosen under."""
    write_json(path, {"value": value, "source": source, "settings": settings(config)})


def read_calibration(path: Path, config: ConfigDict) -> Calibration | None:
    """What `cdm evaluate` left, compared with the settings now; None before that.

    Raises: CheckpointError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        kept, now = json.loads(path.read_text()), settings(config)
        differing = [key for key, value in now.items() if kept["settings"].get(key) != value]
        return Calibration(float(kept["value"]), str(kept["source"]), tuple(differing))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged; run 'cdm evaluate' again") from error
