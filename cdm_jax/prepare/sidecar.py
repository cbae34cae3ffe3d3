"""What is kept beside a prepared image, so that results find the way back without the raw file?"""

import base64
import json
from pathlib import Path

import nibabel as nib

from cdm_jax.data.names import stem
from cdm_jax.errors import UsageError
from cdm_jax.prepare.space import Space
from cdm_jax.prepare.subject import Prepared

HEADERS = {kind.sizeof_hdr: kind for kind in (nib.Nifti1Header, nib.Nifti2Header)}


def sidecar_path(image: Path) -> Path:
    """Where the facts about a prepared image lie."""
    return image.with_name(f"{stem(image)}.json")


def describe(prepared: Prepared, space: Space, file: str, sha256: str, made_by: dict) -> dict:
    """The sidecar of one image.

    Args:
      file, sha256: the raw file, as its owner knows it; made_by: parameters and versions.
    """
    scan = prepared.scan
    return {
        "raw": {
            "file": file,
            "sha256": sha256,
            "shape": list(scan.array.shape),
            "affine": scan.affine.tolist(),
            "header": base64.b64encode(scan.header.binaryblock).decode(),
        },
        "prepared": {"shape": list(space.shape), "affine": space.affine.tolist()},
        "raw_to_prepared": prepared.matrix.tolist(),
        "steps": prepared.steps,
        **made_by,
    }


def read_sidecar(image: Path) -> dict:
    """What `describe` gave. Raises: UsageError: there is none, or it is damaged."""
    path = sidecar_path(image)
    try:
        facts = json.loads(path.read_text())
        if not {"raw", "prepared", "raw_to_prepared"} <= facts.keys():
            raise ValueError("facts are missing")
        return facts
    except OSError as error:
        raise UsageError(f"{path}: not there, so the way back to the raw scan is unknown; it is written by "
                         "'cdm prepare' beside each image") from error  # fmt: skip
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path}: not what 'cdm prepare' wrote ({error}); prepare the scan again") from error


def raw_header(facts: dict) -> nib.Nifti1Header:
    """The raw file's header, bit for bit."""
    block = base64.b64decode(facts["raw"]["header"])
    return HEADERS[len(block)](block, check=False)
