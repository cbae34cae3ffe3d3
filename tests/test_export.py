"""An exported sampler runs where this package cannot be imported, exported weights where it can: both are the model."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors import safe_open

from cdm_jax import __version__, export, parity
from cdm_jax.cli.main import main
from cdm_jax.detector import Detector
from cdm_jax.errors import CheckpointError, UsageError
from cdm_jax.exported import read_exported
from cdm_jax.import_torch import import_torch
from cdm_jax.torch_file import read_torch

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


# Weights


@pytest.fixture(scope="module")
def weights(tiny_run, tmp_path_factory):
    """The folder of the tiny model's weights."""
    folder = tmp_path_factory.mktemp("export") / "weights"
    assert main(["export", "--format", "safetensors", "--workdir", str(tiny_run), "-o", str(folder)]) == 0
    return folder


def test_exported_weights_are_the_model(tiny_run, weights):
    trained, taken = Detector.load(tiny_run), Detector.load(weights)
    assert (taken.step, taken.config.to_dict()) == (trained.step, trained.config.to_dict())
    assert taken.choose_threshold(None) == trained.choose_threshold(None)
    images = np.random.default_rng(1).random((3, 24, 28), np.float32)
    given = images, np.arange(3), np.arange(3) + 9
    expected = trained.reconstruct_slices(*given)
    np.testing.assert_array_equal(taken.reconstruct_slices(*given), expected)
    assert expected.std() > 1e-3
    by_file = Detector.load(weights / "model.safetensors")
    jax.tree.map(np.testing.assert_array_equal, by_file.variables, trained.variables)


def test_exported_weights_have_the_published_names(weights, tmp_path, monkeypatch):
    assert {path.name for path in weights.iterdir()} == {
        "model.safetensors",
        "config.json",
        "calibration.json",
    }
    with safe_open(weights / "model.safetensors", framework="np") as file:
        names, facts = set(file.keys()), file.metadata()
    assert {"diffusion.model.label_emb.0.weight", "encoder.encoder.layer4.0.bn2.running_var"} < names
    assert facts == {"format": "pt", "cdm_jax": __version__, "step": "4"}
    monkeypatch.setattr(parity, "have_torch", lambda: False)
    again = import_torch(
        weights / "model.safetensors", tmp_path / "model", ["--config.preprocess.shape=(24,28,24)"]
    )
    kept = Detector.load(weights)
    assert again.step == kept.step
    jax.tree.map(np.testing.assert_array_equal, again.variables, jax.device_get(kept.variables))
    for key, value in again.keys.items():
        part, name = key.split(".")
        assert kept.config[part][name] == value or key == "model.attention"


def test_overrides_become_what_the_exported_config_says(weights, tmp_path):
    again = tmp_path / "again"
    export.export_weights(weights / "model.safetensors", again, ["--config.sampler.draws=1"])
    assert Detector.load(again).config.sampler.draws == 1
    kept, expected = (read_torch(folder / "model.safetensors").state for folder in (again, weights))
    assert kept.keys() == expected.keys()
    assert all(np.array_equal(kept[name], expected[name]) for name in expected)


def test_weights_appear_whole_or_not_at_all(tiny_run, tmp_path, monkeypatch, capsys):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    command = ["export", "--format", "safetensors", "--workdir", str(tiny_run), "-o"]
    assert main([*command, str(tmp_path / "used")]) == 2
    assert main([*command, "/proc/none/weights"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "exists already" in errors[0] and "cannot be written" in errors[1]
    monkeypatch.setattr(export.configs, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export.export_weights(tiny_run, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"used"}


def test_weights_that_do_not_fit_are_one_line(weights, tmp_path, capsys):
    (tmp_path / "config.json").write_text(
        (weights / "config.json").read_text().replace('"blocks": 1', '"blocks": 2')
    )
    (tmp_path / "model.safetensors").write_bytes((weights / "model.safetensors").read_bytes())
    assert main(["export", "--workdir", str(tmp_path), "-o", str(tmp_path / "x.npz")]) == 5
    error = capsys.readouterr().err
    assert f"{tmp_path}/model.safetensors: the state dict does not fit" in error and error.count("\n") == 1
    with pytest.raises(UsageError, match="notes.txt: not a model"):
        (tmp_path / "notes.txt").write_text("")
        Detector.load(tmp_path / "notes.txt")
