"""Methods under one budget, shrunk: pretraining, graft, training, scores, a table that goes on where it stopped."""

import json

import jax
import numpy as np
import pytest
from conftest import TINY

from cdm_jax import bench, methods
from cdm_jax import config as configs
from cdm_jax import demo as job
from cdm_jax.cli.main import main
from cdm_jax.errors import CheckpointError, UsageError
from cdm_jax.graft import graft_encoder, read_pretrained
from cdm_jax.objectives import OBJECTIVES
from cdm_jax.variants import VARIANTS, vary

SMALL = (
    *TINY,
    "--config.train.steps=2",
    "--config.patched.size=12",
    "--config.spark.width=32",
    "--config.autoencoder.channels=4",
    "--config.autoencoder.multipliers=(1,2)",
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Two calls of `cdm bench methods`, as after an interruption."""
    folder = tmp_path_factory.mktemp("bench")
    cohort = {"train": 4, "val": 1, "test_healthy": 1, "val_patients": 1, "test_patients": 1}
    call = ["bench", "methods", "--config=configs/demo.py", "--out", str(folder), *SMALL]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "COHORT", cohort)
        assert main([*call, "--methods", "cddpm_pretrained"]) == 0
        stamp = (folder / "seed0/cddpm_pretrained/progress.png").stat().st_mtime_ns
        assert main([*call, "--methods", "cddpm_pretrained,vae"]) == 0
        assert (folder / "seed0/cddpm_pretrained/progress.png").stat().st_mtime_ns == stamp
        yield folder


def test_rows_come_as_methods_finish_each_once(out):
    rows = json.loads((out / "methods.json").read_text())["rows"]
    assert [row["variant"] for row in rows] == ["intensity", "cddpm_pretrained", "vae"]
    assert rows[2]["parameters"] == bench.parameters(configs.read(out / "seed0/vae/config.json")) > 1000
    for row in rows:
        assert 0 <= row["auprc"] <= 1 and row["seconds"] >= 0
    table = (out / "methods.md").read_text()
    assert "encoder pretrained" in table and len(table.splitlines()) == 5


def test_pretraining_leaves_a_figure_of_masked_input_reconstruction_and_target(out):
    assert (out / "seed0/spark/pretraining.png").read_bytes().startswith(b"\x89PNG")
    assert not (out / "seed0/vae/pretraining.png").exists()


def test_the_graft_names_every_weight_it_takes_and_leaves(out):
    lines = [line.split() for line in (out / "seed0/cddpm_pretrained/graft.txt").read_text().splitlines()]
    kinds = {kind: {name for k, name in lines if k == kind} for kind in ("taken", "left", "drawn")}
    pretrained = read_pretrained(out / "seed0/spark")
    names = {"/".join(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(pretrained)}
    assert kinds["taken"] | kinds["left"] == names
    assert kinds["drawn"] == {"params/encoder/fc/kernel", "params/encoder/fc/bias"}
    assert {name.split("/")[1] for name in kinds["taken"]} == {"encoder"}
    assert "encoder" not in {name.split("/")[1] for name in kinds["left"]}


def fresh(out, *overrides) -> dict:
    """Variables of the shape a new model has, all of them zero."""
    config = configs.load("configs/demo.py", [*SMALL, *overrides])
    network = methods.model(config)
    shapes = jax.eval_shape(lambda: methods.init_variables(config, network))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def test_the_graft_copies_the_encoder_and_nothing_else(out):
    pretrained = read_pretrained(out / "seed0/spark")
    grafted, _ = graft_encoder(fresh(out), out / "seed0/spark")
    encoder = dict(grafted["params"]["encoder"])
    assert not np.any(encoder.pop("fc")["kernel"])
    jax.tree.map(np.testing.assert_array_equal, encoder, pretrained["params"]["encoder"])
    statistics = grafted["batch_stats"]["encoder"], pretrained["batch_stats"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, *statistics)
    assert not any(leaf.any() for leaf in jax.tree.leaves(grafted["params"]["unet"]))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("--config.encoder.width=16", r"misshapen: batch_stats/encoder/bn1/mean \(8,\) instead of \(16,\)"),
        ("--config.encoder.name=resnet34", r"missing: .*encoder/layer1_1/bn1/mean"),
    ],
)
def test_another_architecture_is_refused_by_name(out, change, told):
    with pytest.raises(CheckpointError, match=told):
        graft_encoder(fresh(out, change), out / "seed0/spark")


def test_what_cannot_be_grafted_or_detected_with_is_one_line(out, capsys):
    spark, cohort = out / "seed0/spark", out / "seed0/cohort"
    with pytest.raises(UsageError, match="has no encoder"):
        graft_encoder(fresh(out, "--config.encoder.name=none"), spark)
    data = f"--config.data.root={cohort}"
    train = ["train", "--config=configs/demo.py", data, "--workdir", out / "x", *SMALL]
    for words, code, told in (
        (["evaluate", "--workdir", spark], 2, "encoder.init"),
        (["train", "--config=configs/demo_spark.py", data, "--workdir", out / "x"], 2, "cdm pretrain"),
        (["pretrain", "--config=configs/demo.py", data, "--workdir", out / "x"], 2, "cdm train"),
        (["bench", "methods", "--config=configs/demo.py", "--methods", "gan", "--out", out], 2, "known"),
        (["bench", "methods", "--config=configs/demo.py", "--out", out], 2, "another --out"),
        (["bench", "methods", "--config=configs/demo.py", "--seeds", "a", "--out", out], 2, "whole numbers"),
        ([*train, "--config.model.conditioning=token"], 2, "unknown conditioning 'token'"),
        ([*train, "--config.augment.blur=2"], 2, "augment.blur is a probability"),
        ([*train, "--config.model.objective=patched", "--config.patched.size=30"], 2, "do not fit"),
        ([*train, f"--config.encoder.init={out}/nothing"], 5, "holds no trained model"),
        ([*train, f"--config.encoder.init={out}/seed0/vae"], 5, "of another architecture"),
    ):
        assert main([str(word) for word in words]) == code
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1 and not (out / "x").exists()


def test_every_method_has_an_objective_and_every_row_a_variant():
    assert methods.METHODS.keys() == OBJECTIVES.keys()
    assert set(bench.ROWS) | {"spark"} == set(VARIANTS)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("cddpm", 44.07 + 24.55), ("ddpm", 37.51), ("pddpm", 37.51), ("spark", 37.96), ("vae", 1.82)],
)
def test_the_papers_configs_build_networks_of_the_published_size(name, millions):
    assert bench.parameters(configs.load(f"configs/{name}.py")) / 1e6 == pytest.approx(millions, abs=0.01)


def test_a_variant_changes_what_it_names_alone():
    base = configs.flatten(configs.load("configs/demo.py"))
    for name, changes in VARIANTS.items():
        changed = configs.flatten(vary(configs.load("configs/demo.py").unlock(), name))
        assert {key: changed[key] for key in changed if changed[key] != base[key]}.keys() <= changes.keys()
