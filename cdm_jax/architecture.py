"""Which architecture do the names and shapes of a published state dict belong to?"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from cdm_jax.differences import Shapes, listed
from cdm_jax.errors import CheckpointError
from cdm_jax.models.encoders import ENCODERS
from cdm_jax.models.unet import CONDITIONING

SIGNATURES = {"unet": "time_embed.0.weight", "encoder": "layer1.0.conv1.weight"}
"""An entry that each network has, and has once."""

PRETRAINING = re.compile(
    r"(.*\.)?((dense_decoder|en_de_norms|en_de_lins|mask_tokens|pos_embeds)\..+|imn_m|imn_s|norm_black)"
)
"""Entries of SparK beside its encoder, which no other model uses."""


def find_networks(names: Iterable[str]) -> dict[str, str]:
    """Where the networks stand: {"unet": "diffusion.model", "encoder": "encoder.encoder"}, or one of them.

    Raises: CheckpointError: there is none of them, or one of them twice.
    """
    names, found = list(names), {}
    for network, signature in SIGNATURES.items():
        prefixes = [name[: -len(signature)] for name in names if f".{name}".endswith(f".{signature}")]
        if len(prefixes) > 1:
            raise CheckpointError(f"more than one {network}: under {', '.join(sorted(prefixes))}")
        if prefixes:
            found[network] = prefixes[0].removesuffix(".")
    if not found:
        raise CheckpointError(
            f"neither a UNet nor a ResNet of the published code among its {len(names)} entries ({listed(names)})"
        )
    return found


def infer(shapes: Shapes, networks: Mapping[str, str]) -> dict[str, Any]:
    """The config keys that say which model has entries of these names and shapes.

    Args: networks: from `find_networks`.
    Raises: CheckpointError: an entry that decides is missing, or the networks do not belong together.
    """
    keys: dict[str, Any] = {}
    try:
        if "encoder" in networks:
            keys |= encoder_keys(below(networks["encoder"], shapes))
        if "unet" in networks:
            unet = below(networks["unet"], shapes)
            conditioned = conditioning(unet) is not None
            if conditioned != ("encoder" in networks):
                have = "an encoder" if "encoder" in networks else "no encoder"
                raise CheckpointError(f"{'a ' if conditioned else 'an un'}conditioned UNet, and {have}")
            keys |= unet_keys(unet) | (keys or {"encoder.name": "none"})
    except KeyError as error:
        raise CheckpointError(f"no entry {error.args[0]}, which its architecture follows from") from error
    except (IndexError, ZeroDivisionError, ValueError) as error:
        raise CheckpointError("the shapes of its entries fit no published architecture") from error
    return keys


def below(prefix: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries under `prefix`, without it."""
    start = f"{prefix}." if prefix else ""
    return {name.removeprefix(start): entry for name, entry in entries.items() if name.startswith(start)}


def unet_keys(shapes: Shapes) -> dict[str, Any]:
    """Keys of a UNet whose entries are `shapes`.

    The way up tells its levels apart: the last stage of each but the finest ends with one more residual block,
    which doubles the resolution.
    """
    base, stages = shapes["time_embed.0.weight"][1], output_stages(shapes)
    ends = [i for i, stage in enumerate(stages, start=1) if stage["upsamples"]]
    length = ends[0] if ends else len(stages)
    levels = stages[::length][::-1]  # the first stage of each, finest level first
    multipliers, remainders = zip(*(divmod(level["width"], base) for level in levels), strict=True)
    if any(remainders) or ends != list(range(length, len(stages), length)) or len(stages) % length:
        raise ValueError("stages of unequal length, or widths that are no multiples")
    kind = conditioning(shapes)
    return {
        "model.channels": base,
        "model.multipliers": multipliers,
        "model.blocks": length - 1,
        "model.attention": tuple(2**i for i, level in enumerate(levels) if level["attends"]),
    } | ({"model.conditioning": kind} if kind else {})


def output_stages(shapes: Shapes) -> list[dict[str, Any]]:
    """Width of each stage of the way up, whether it attends, and whether it doubles the resolution."""
    numbers = {int(match[1]) for name in shapes if (match := re.match(r"output_blocks\.(\d{1,4})\.", name))}
    stages = []
    for number in sorted(numbers):
        layers = below(f"output_blocks.{number}", shapes)
        residuals = [name for name in layers if re.fullmatch(r"\d+\.in_layers\.2\.weight", name)]
        stages.append(
            {
                "width": shapes[f"output_blocks.{number}.0.in_layers.2.weight"][0],
                "attends": any(name.startswith(("1.qkv.", "1.transformer_blocks.")) for name in layers),
                "upsamples": len(residuals) > 1,
            }
        )
    return stages


def conditioning(shapes: Shapes) -> str | None:
    """How the condition enters a UNet, a key of `CONDITIONING`; None for an unconditional one."""
    token = any(".transformer_blocks." in name for name in shapes)
    ways = {way: name for name, way in CONDITIONING.items()}
    return ways.get(("label_emb.0.weight" in shapes, token))


def encoder_keys(shapes: Shapes) -> dict[str, Any]:
    """Keys of a ResNet whose entries are `shapes`; "encoder.features" only where it has a head."""
    blocks = {name for name in shapes if re.fullmatch(r"layer\d\.\d+\.conv1\.weight", name)}
    stages = sorted({name.split(".")[0] for name in blocks})
    depths = tuple(sum(name.startswith(f"{stage}.") for name in blocks) for stage in stages)
    bottleneck = "layer1.0.conv3.weight" in shapes
    names = [
        name
        for name, make in ENCODERS.items()
        if isinstance(make, partial) and make.keywords == {"depths": depths, "bottleneck": bottleneck}
    ]
    if not names:
        raise CheckpointError(f"no known encoder has stages of {depths} {'bottleneck ' * bottleneck}blocks")
    keys = {"encoder.name": names[0], "encoder.width": shapes["conv1.weight"][0]}
    return keys | ({"encoder.features": shapes["fc.weight"][0]} if "fc.weight" in shapes else {})
