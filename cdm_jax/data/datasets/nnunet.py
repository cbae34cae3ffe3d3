"""Which modality is a channel of a folder in nnU-Net's form?"""

import json
import re
from pathlib import Path

from cdm_jax.data.datasets.subject import ANY, MODALITIES
from cdm_jax.data.names import stem
from cdm_jax.errors import UsageError

CHANNEL = re.compile(r"_(\d{4})$")


def read_name(path: Path, channels: dict[str, str]) -> tuple[str, str]:
    """(id, modality or ANY) of an image in nnU-Net's form; the modality is empty where it is none of ours."""
    found = CHANNEL.search(stem(path))
    if not found or found[1] not in channels:
        raise UsageError(f"{path}: ends in none of the channels _{', _'.join(channels)} of dataset.json")
    return CHANNEL.sub("", stem(path)), channels[found[1]]


def channels(root: Path, images: list[Path]) -> dict[str, str]:
    """{"0000": modality} by nnU-Net's dataset.json; {} where the images are not in its form."""
    nnunet = all(path.parent.name == "imagesTr" or stem(path).endswith("_0000") for path in images)
    if not nnunet or not images:
        return {}
    if not (root / "dataset.json").is_file():
        return {"0000": ANY}
    try:
        described = json.loads((root / "dataset.json").read_text())
        names = described.get("channel_names") or described["modality"]
        names = {f"{int(number):04}": str(name).lower().removesuffix("w") for number, name in names.items()}
    except (ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"{root / 'dataset.json'}: does not name nnU-Net's channels ({error!r})") from error
    return {number: name if name in MODALITIES else "" for number, name in names.items()}
