"""Configs: overrides keep their type, unknown keys name the nearest, a kept config reads back equal."""

import json
import sys
from pathlib import Path

import pytest

from cdm_jax import config as configs
from cdm_jax.cli import huge_pages
from cdm_jax.errors import CheckpointError, UsageError

SHIPPED = sorted(path.stem for path in Path(configs.__file__).parents[1].glob("configs/[a-z]*.py"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_has_the_keys_of_default_and_reads_back_equal(name, tmp_path):
    config = configs.load(f"configs/{name}.py")
    assert configs.flatten(config).keys() == configs.flatten(configs.load("configs/default.py")).keys()
    configs.write(tmp_path / "config.json", config)
    assert configs.read(tmp_path / "config.json") == config


def test_default_holds_the_published_values():
    config = configs.load("configs/default.py")
    assert (config.train.steps, config.train.batch, config.train.lr) == (14_400, 32, 1e-4)
    assert config.sampler.t_starts == (250, 500, 750) and config.preprocess.shape == (96, 96, 50)
    assert (config.encoder.name, config.encoder.features, config.model.channels) == ("resnet50", 512, 128)


def test_overrides_keep_their_type():
    config = configs.load("configs/demo.py", ["--config.preprocess.shape=(8,8,4)", "--config.train.lr=1e-2"])
    assert config.preprocess.shape == (8, 8, 4) and config.train.lr == 0.01


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("--config.noise.octave=3", "noise.octaves"),
        ("--config.train.steps=many", "train.steps"),
        ("--config.train.steps", "--config.key=value"),
        ("--steps=3", "--config.key=value"),
    ],
)
def test_a_wrong_override_is_refused(override, told):
    with pytest.raises(UsageError, match=told):
        configs.load("configs/demo.py", [override])


def test_a_config_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configs.load("configs/demo.py").preprocess.spacing == 4.0
    with pytest.raises(UsageError, match="configs/demo.py"):
        configs.load("configs/none.py")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("x = 1", "get_config"),
        ("import nowhere", "nowhere"),
        ("def get_config(:", "syntax"),
        ("def get_config(): raise KeyError", "KeyError"),
    ],
)
def test_a_program_that_is_no_config_is_one_line(program, told, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "config_config", raising=False)  # ml_collections' name for the last one
    path = tmp_path / "mine.py"
    path.write_text(program)
    with pytest.raises(UsageError, match=told) as caught:
        configs.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "cut", "key"])
def test_a_damaged_config_is_refused(damage, tmp_path):
    path = tmp_path / "config.json"
    configs.write(path, configs.load("configs/demo.py"))
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_text(path.read_text()[:100])
    else:
        kept = json.loads(path.read_text())
        del kept["seed"]
        path.write_text(json.dumps(kept))
    with pytest.raises(CheckpointError, match="config.json"):
        configs.read(path)


def test_huge_pages_are_asked_for_once(monkeypatch, tmp_path):
    setting = tmp_path / "enabled"
    monkeypatch.setattr(huge_pages, "SETTING", setting)
    monkeypatch.setattr(huge_pages.sys, "platform", "linux")
    monkeypatch.delenv(huge_pages.VARIABLE, raising=False)
    assert not huge_pages.wanted()
    setting.write_text("always [madvise] never\n")
    assert huge_pages.wanted()
    monkeypatch.setenv(huge_pages.VARIABLE, huge_pages.VALUE)
    assert not huge_pages.wanted()


def test_a_run_of_an_earlier_version_stays_what_it_was(tmp_path):
    path, config = tmp_path / "config.json", configs.load("configs/cddpm.py")
    configs.write(path, config)
    kept = json.loads(path.read_text())
    for section in ("augment", "spark", "patched", "autoencoder"):
        del kept[section]
    del (
        kept["model"]["conditioning"],
        kept["encoder"]["init"],
        kept["data"]["patients"],
        kept["train"]["betas"],
    )
    path.write_text(json.dumps(kept))
    read = configs.flatten(configs.read(path))
    changed = {key for key, value in configs.flatten(config).items() if read[key] != value}
    assert changed == set(configs.BEFORE) and not any(read[key] for key in changed)


def test_of_two_overrides_the_last_counts():
    given = ["--config.preprocess.shape=(8,8,4)", "--config.seed=1", "--config.preprocess.shape=(24,28,24)"]
    config = configs.load("configs/demo.py", [*given, "--config.seed=2"])
    assert config.preprocess.shape == (24, 28, 24) and config.seed == 2
