"""How does a checkpoint of the published PyTorch code become a model folder of ours?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from cdm_jax import checkpoint, methods, parity, provenance
from cdm_jax import config as configs
from cdm_jax.architecture import PRETRAINING, below, find_networks, infer
from cdm_jax.configs import default
from cdm_jax.differences import listed
from cdm_jax.errors import CheckpointError, UsageError
from cdm_jax.files import write_json, write_text
from cdm_jax.folders import atomic_folder, refuse_used
from cdm_jax.parity import Difference
from cdm_jax.torch_file import TorchFile, read_torch
from cdm_jax.torch_import import IGNORED, from_torch, torch_name
from cdm_jax.train_state import TrainState
from cdm_jax.training.trainer import make_trainer
from cdm_jax.weights import ENCODER_FILE, encoder_template, write_encoder


@dataclass(frozen=True)
class Imported:
    """What was taken from a checkpoint.

    keys: the config keys that its names and shapes gave; config: None where it holds an encoder alone;
    networks: ours -> the beginning of their torch names; names: every torch name that was taken -> ours;
    left_out: the others, which are no weights or not the encoder's; differences: from the torch reference,
    empty where torch is not installed.
    """

    keys: dict
    config: ConfigDict | None
    variables: dict
    step: int
    networks: Mapping[str, str]
    names: dict[str, str]
    left_out: tuple[str, ...]
    differences: dict[str, Difference]

    def summary(self) -> Counter:
        """{(torch module, our network): entries}, by the outermost modules of each network."""
        count: Counter = Counter()
        for name, ours in self.names.items():
            network = ours.split("/")[1]
            prefix = self.networks[network]
            module = name[len(prefix) :].removeprefix(".").split(".")[0]
            count[f"{prefix}.{module}".removeprefix("."), network] += 1
        return count


def import_torch(source: str | Path, workdir: str | Path, overrides: Sequence[str] = ()) -> Imported:
    """Make `workdir` a model that can be used at once, or a pretrained encoder for `config.encoder.init`.

    Args:
      source: a Lightning checkpoint, a state dict or a safetensors file, see `read_torch`; of a conditioned or
        unconditional model, of SparK pretraining or of an encoder alone.
      overrides: `--config.key=value` for what the weights do not tell.
    Raises:
      CheckpointError: `source` cannot be read, or an entry is missing, unexpected or of another shape; nothing
        is written then.
      UsageError: `workdir` is in use or cannot be written, or a bad override.
    """
    refuse_used(workdir)
    kept = read_torch(source)
    try:
        refuse_numbers_that_are_none(kept.state)
        networks = find_networks(kept.state)
        convert = import_model if "unet" in networks else import_encoder
        imported = convert(kept, networks, overrides)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    with atomic_folder(workdir) as folder:
        write(folder, imported, Path(source))
    return imported


def import_model(kept: TorchFile, networks: Mapping[str, str], overrides: Sequence[str]) -> Imported:
    """A UNet, with its encoder if it has one."""
    keys = infer(shapes(kept.state), networks)
    config = configured(keys, overrides)
    template = methods.variable_shapes(config)
    variables = from_torch(kept.state, template, networks)
    entries = {name: below(prefix, kept.state) for name, prefix in networks.items()}
    differences = parity.compare_model(config, variables, entries) if parity.have_torch() else {}
    found = names(kept, template, networks)
    return Imported(keys, config, variables, kept.step, networks, *found, differences)


def import_encoder(kept: TorchFile, networks: Mapping[str, str], overrides: Sequence[str]) -> Imported:
    """An encoder alone, without its head and without what pretraining had beside it."""
    if overrides:
        raise UsageError(f"{overrides[0]}: the file holds an encoder alone, which has no config")
    head = below(networks["encoder"], {name: name for name in kept.state}).items()
    passed = {name for inner, name in head if inner in ("fc.weight", "fc.bias")}
    state = {n: entry for n, entry in kept.state.items() if n not in passed and not PRETRAINING.fullmatch(n)}
    keys = infer(shapes(state), networks)
    template = encoder_template(keys)
    variables = from_torch(state, template, networks)
    entries = below(networks["encoder"], state)
    differences = parity.compare_encoder(keys, variables, entries) if parity.have_torch() else {}
    found = names(kept, template, networks)
    return Imported(keys, None, variables, kept.step, networks, *found, differences)


def configured(keys: Mapping, overrides: Sequence[str]) -> ConfigDict:
    """configs/default.py with what the weights tell, and with what the user adds."""
    for override in overrides:
        key = override.removeprefix("--config.").partition("=")[0]
        if key in keys:
            raise UsageError(f"{override}: the weights are of a model with {key} {keys[key]}")
    config = configs.load(default.__file__, overrides)
    config.update_from_flattened_dict(dict(keys))
    return config


def write(folder: Path, imported: Imported, source: Path) -> None:
    """The files of a model folder, or of an encoder's."""
    if imported.config is None:
        write_encoder(folder / ENCODER_FILE, imported.variables)
    else:
        configs.write(folder / "config.json", imported.config)
        fresh = make_trainer(imported.config).init(imported.variables)
        with checkpoint.writer(folder) as writer:
            trees = at_step(fresh, imported.step).trees
            writer.save(imported.step, trees, {"val_loss": None, "best": []})
    taken = [f"{name} -> {ours}\n" for name, ours in imported.names.items()]
    write_text(
        folder / "key_map.txt", "".join([*taken, *(f"{name} left out\n" for name in imported.left_out)])
    )
    differences = {name: str(difference) for name, difference in imported.differences.items()}
    facts = {"source": source.name, "step": imported.step, "keys": imported.keys, "differences": differences}
    write_json(folder / "import.json", provenance.environment() | facts)


def shapes(state: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in state.items()}


def names(kept: TorchFile, template: Mapping, networks: Mapping) -> tuple[dict[str, str], tuple[str, ...]]:
    """({torch name: ours} in the file's order, names that were left out)."""
    ours = {torch_name(path, networks): "/".join(path) for path in flatten_dict(template)}
    return (
        {name: ours[name] for name in kept.state if name in ours},
        tuple(name for name in kept.state if name not in ours),
    )


def refuse_numbers_that_are_none(state: Mapping[str, np.ndarray]) -> None:
    bad = [n for n, entry in state.items() if not IGNORED.fullmatch(n) and not np.isfinite(entry).all()]
    if bad:
        raise CheckpointError(f"NaN or infinity in {len(bad)} entries ({listed(bad)})")


def at_step(state: TrainState, step: int) -> TrainState:
    """A fresh state that training goes on from at `step`: so does the learning rate; Adam's moments begin anew."""

    def is_schedule(part) -> bool:
        return isinstance(part, optax.ScaleByScheduleState)

    def counted(part):
        return part._replace(count=part.count + step) if is_schedule(part) else part

    opt_state = jax.tree.map(counted, state.opt_state, is_leaf=is_schedule)
    return replace(state, step=state.step + step, opt_state=opt_state)
