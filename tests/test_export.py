"""An exported sampler gives what the model gives, in a process that cannot import this package."""

import json
import subprocess
import sys

import numpy as np
import pytest

from cdm_jax.cli.main import main
from cdm_jax.detector import Detector
from cdm_jax.errors import CheckpointError
from cdm_jax.exported import read_exported

ALONE = """
import json, sys
sys.modules["cdm_jax"] = sys.modules["flax"] = None  # importing them fails
import jax, jax.export, numpy as np
with np.load(sys.argv[1]) as file:
    program = jax.export.deserialize(file["program"].tobytes())
    leaves = [file[name] for name in sorted(file) if name.startswith("leaf_")]
    facts = json.loads(str(file["facts"]))
given = np.load(sys.argv[2])
np.save(sys.argv[3], program.call(leaves, given["name"], given["image"]))
print(json.dumps(facts["slice"]))
"""


@pytest.mark.parametrize("sampler", [[], ["--config.sampler.name=ddim", "--config.sampler.steps=2",
                                          "--config.sampler.eta=1.0"]], ids=["ensemble", "ddim"])  # fmt: skip
def test_the_file_alone_samples_as_the_model_does(tiny_run, tmp_path, capsys, sampler):
    path, given, result = (tmp_path / name for name in ("sampler.npz", "given.npz", "result.npy"))
    assert main(["export", "--workdir", str(tiny_run), "-o", str(path), *sampler]) == 0
    assert "differs from the model" in capsys.readouterr().out

    detector = Detector.load(tiny_run, sampler)
    images = np.random.default_rng(0).random((5, 24, 28), np.float32)
    subjects, slices = np.arange(5), np.arange(5) + 7
    name = np.stack([np.full(5, detector.config.seed), subjects, slices], -1).astype(np.uint32)
    np.savez(given, name=name, image=images[..., None])
    done = subprocess.run([sys.executable, "-c", ALONE, path, given, result],
                          text=True, capture_output=True, check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [24, 28]
    expected = detector.reconstruct_slices(images, subjects, slices)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(np.load(result)[..., 0], expected, atol=1e-5)
    sample, facts = read_exported(path)
    np.testing.assert_allclose(sample(name, images[..., None])[..., 0], expected, atol=1e-5)
    assert facts["sampler"]["name"] == detector.config.sampler.name


def test_a_file_that_is_no_sampler_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nothing.npz"):
        read_exported(tmp_path / "nothing.npz")
    np.savez(tmp_path / "other.npz", program=np.zeros(9, np.uint8), facts=np.array("{}"))
    with pytest.raises(CheckpointError, match="other.npz"):
        read_exported(tmp_path / "other.npz")


def test_an_output_that_cannot_be_written_is_one_line(tiny_run, capsys):
    assert main(["export", "--workdir", str(tiny_run), "-o", "/proc/none/sampler.npz"]) == 2
    error = capsys.readouterr().err
    assert "/proc/none/sampler.npz: cannot be written" in error and error.count("\n") == 1
