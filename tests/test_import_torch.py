"""Does a checkpoint of the published code become a model that computes the same, and is anything else refused?"""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, load, nhwc, relative_error, weight
from golden_models import golden_unet
from torch_zip import Code, code, lightning, name, write_checkpoint

from cdm_jax import parity
from cdm_jax.architecture import encoder_keys, find_networks, infer
from cdm_jax.cli.main import main
from cdm_jax.detector import Detector
from cdm_jax.errors import CheckpointError, UsageError
from cdm_jax.import_torch import import_torch
from cdm_jax.models.encoders import make_encoder
from cdm_jax.models.unet import UNet
from cdm_jax.torch_import import to_torch
from cdm_jax.weights import read_encoder

SMALL = ["--config.preprocess.shape=(32,32,24)", "--config.preprocess.spacing=6.0"]
SIZES = {"base_channels": 8, "multipliers": (1, 2), "blocks": 1}
SCHEDULE = {"diffusion.betas": np.ones(1000), "diffusion.sqrt_alphas_cumprod": np.ones(1000)}


@cache
def blank(network) -> dict:
    """A network's state dict of zeros."""
    inputs = [jnp.zeros((1, 32, 32, 1))]
    if isinstance(network, UNet):
        features = network.cond_features
        inputs += [jnp.zeros(1), None if features is None else jnp.zeros((1, features))]
    template = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return to_torch(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template))


def resnet(model="resnet18", features=64, width=8):
    return make_encoder(model, features, width=width)


def published(network, prefix: str) -> dict:
    """A network's state dict with the golden weights, its names under `prefix`."""
    return {prefix + entry: weight(entry, array.shape) for entry, array in blank(network).items()}


def of_unet(unet: UNet, prefix="diffusion.model.") -> dict:
    return published(unet, prefix)


def of_encoder(features=64, prefix="encoder.encoder.") -> dict:
    return published(resnet(features=features), prefix)


def shapes(state: dict, prefix: str = "") -> dict:
    return {prefix + entry: array.shape for entry, array in state.items()}


def equal(some, others) -> bool:
    assert jax.tree.structure(some) == jax.tree.structure(others)
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), some, others))


@pytest.fixture
def alone(monkeypatch):
    """As where torch is not installed."""
    monkeypatch.setattr(parity, "have_torch", lambda: False)


# What the architecture is

ARCHITECTURES = {
    "published": UNet(cond_features=512),
    "small": golden_unet(load("unet_small")["meta"]),
    "attention": golden_unet(load("unet_small_attention")["meta"]),
    "both": golden_unet(load("unet_small_cross_attention")["meta"], conditioning="both"),
    "cross": UNet(8, (1, 2, 4, 4), 2, (2, 8), cond_features=4, conditioning="cross_attention"),
    "one level": UNet(8, (2,), 1, (1,), cond_features=4),
    "unconditional": UNet(16, (1, 3), 1, ()),
}


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_a_unet_is_known_by_its_names_and_shapes(case):
    unet = ARCHITECTURES[case]
    state = shapes(blank(unet), "diffusion.model.") | shapes(SCHEDULE)
    expected = {
        "model.channels": unet.base_channels,
        "model.multipliers": unet.multipliers,
        "model.blocks": unet.blocks,
        "model.attention": tuple(2**n for n in range(len(unet.multipliers)) if 2**n in unet.attention_levels),
    }
    if unet.cond_features is None:
        expected |= {"encoder.name": "none"}
    else:
        state |= shapes(blank(resnet(features=unet.cond_features)), "encoder.")
        expected |= {"model.conditioning": unet.conditioning, "encoder.name": "resnet18", "encoder.width": 8}
        expected |= {"encoder.features": unet.cond_features}
    networks = find_networks(state)
    assert networks == {"unet": "diffusion.model"} | ({"encoder": "encoder"} if unet.cond_features else {})
    assert infer(state, networks) == expected


@pytest.mark.parametrize("model", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_an_encoder_is_known_by_its_names_and_shapes(model):
    state = blank(resnet(model, 12, 16))
    assert encoder_keys(shapes(state)) == {"encoder.name": model, "encoder.width": 16, "encoder.features": 12}


def test_networks_that_do_not_belong_together_are_refused():
    unet, encoder = of_unet(UNet(**SIZES, cond_features=4)), of_encoder(features=4)
    plain = of_unet(UNet(**SIZES))
    for state, reason in (
        (unet, "a conditioned UNet, and no encoder"),
        (plain | encoder, "an unconditioned UNet, and an encoder"),
        (unet | encoder | {"ema." + n: e for n, e in unet.items()}, "more than one unet: under diffusion"),
        ({"generator.weight": np.ones(3)}, "neither a UNet nor a ResNet .* among its 1 entries .generator"),
        (
            {n: e for n, e in plain.items() if "output_blocks.0.0.in" not in n},
            "no entry output_blocks.0.0.in",
        ),
        ({n: e for n, e in plain.items() if "output_blocks.2." not in n}, "fit no published architecture"),
        (plain | {"diffusion.model.time_embed.0.weight": np.ones(3)}, "fit no published architecture"),
        (
            {n: e for n, e in encoder.items() if "layer4" not in n},
            r"no known encoder has stages of \(2, 2, 2\)",
        ),
    ):
        with pytest.raises(CheckpointError, match=reason):
            infer(shapes(state), find_networks(state))


# Whole models


def test_a_published_checkpoint_becomes_a_model_of_the_same_output(alone, tmp_path, capsys):
    golden = load("unet_small")
    state = of_unet(ARCHITECTURES["small"]) | of_encoder() | SCHEDULE
    assert {n.removeprefix("diffusion.model.") for n in state} >= set(golden["meta"]["names"])
    source = write_checkpoint(tmp_path / "last.ckpt", state, lambda entries: lightning(entries, step=14400))
    assert main(["import-torch", str(source), "-o", str(tmp_path / "model"), *SMALL]) == 0
    told = capsys.readouterr().out
    counters = sum("num_batches" in entry for entry in state)
    taken = len(state) - counters - len(SCHEDULE)
    assert f"{taken} entries taken, 0 missing, 0 unexpected, {counters + len(SCHEDULE)} left out" in told
    assert "model.multipliers=(1, 2, 2)" in told and "encoder.name=resnet18" in told
    assert "  84 entries  diffusion.model.input_blocks -> unet\n" in told
    assert "torch is not installed" in told

    detector = Detector.load(tmp_path / "model")
    assert detector.step == 14400 and detector.config.preprocess.shape == (32, 32, 24)
    params = jax.device_get(detector.variables)["params"]
    inputs = array("unet_small:x", (2, 1, 32, 32)), golden["t"], array("unet_small:cond", (2, 64))
    predicted = jax.jit(ARCHITECTURES["small"].apply, compiler_options=parity.ONCE)(
        {"params": params["unet"]}, nhwc(inputs[0]), inputs[1], inputs[2]
    )
    assert relative_error(predicted, nhwc(golden["y"])) < 1e-5
    kernel = params["encoder"]["layer2_0"]["downsample_conv"]["kernel"]
    np.testing.assert_array_equal(
        kernel[0, 0].T, state["encoder.encoder.layer2.0.downsample.0.weight"][..., 0, 0]
    )

    lines = (tmp_path / "model" / "key_map.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines if "->" in line] == [
        entry for entry in state if "num_batches" not in entry and entry not in SCHEDULE
    ]
    assert "diffusion.model.out.2.weight -> params/unet/head_conv/kernel" in lines
    assert "diffusion.betas left out" in lines
    facts = json.loads((tmp_path / "model" / "import.json").read_text())
    assert (facts["source"], facts["step"]) == ("last.ckpt", 14400)


def test_an_unconditional_model_in_a_bare_state_dict(alone, tmp_path):
    state = of_unet(UNet(**SIZES, attention_levels=(2,)), prefix="")
    source = write_checkpoint(tmp_path / "unet.pt", {n: e.astype(np.float16) for n, e in state.items()})
    imported = import_torch(source, tmp_path / "model", SMALL)
    assert imported.config.encoder.name == "none" and imported.config.model.attention == (2,)
    detector = Detector.load(tmp_path / "model")
    assert equal(jax.device_get(detector.variables), jax.device_get(imported.variables))
    kernel = detector.variables["params"]["unet"]["head_conv"]["kernel"]
    given = state["out.2.weight"].astype(np.float16)
    np.testing.assert_array_equal(np.moveaxis(kernel, (3, 2), (0, 1)), given)


# Agreement with torch


class Config:
    """Like what Lightning keeps beside the weights."""

    def __init__(self):
        self.content = {"parent": self}


@pytest.fixture
def torch():
    """With one thread, as small layers on a busy machine wait for their threads most of the time."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


def test_both_implementations_run_and_agree(torch, tmp_path):
    unet = UNet(**SIZES, attention_levels=(), cond_features=12, conditioning="both")
    state = {n: torch.from_numpy(e) for n, e in (of_unet(unet) | of_encoder(features=12)).items()}
    torch.save({"state_dict": state, "global_step": 3, "hyper_parameters": Config()}, tmp_path / "a.ckpt")
    imported = import_torch(tmp_path / "a.ckpt", tmp_path / "model", SMALL)
    assert imported.step == 3 and imported.keys["model.conditioning"] == "both"
    assert set(imported.differences) == {"encoder", "unet"}
    for difference in imported.differences.values():
        assert difference.of > 0.1 and difference.largest < 1e-4 * difference.of


def test_a_difference_is_refused():
    assert parity.difference("UNet", np.ones(3), np.ones(3) + 1e-6).largest == pytest.approx(1e-6)
    for wrong in (np.ones(3) * 1.01, np.full(3, np.nan)):
        with pytest.raises(CheckpointError, match="the UNet differs from the torch reference by"):
            parity.difference("UNet", wrong, np.ones(3))


def test_the_reference_with_cross_attention_is_the_published_one(torch):
    from cdm_jax.torch_reference.cddpm import load_arrays
    from cdm_jax.torch_reference.unet import UNet as Reference

    golden = load("unet_small_cross_attention")
    meta = golden["meta"]
    sizes = meta["ch"], meta["mult"], meta["blocks"], meta["att"]
    reference = Reference(*sizes, cond_features=meta["cond"], conditioning="both")
    assert set(reference.state_dict()) == set(meta["names"])
    weights = {n: weight(n, tuple(e.shape)) for n, e in reference.state_dict().items()}
    x_t, cond = array("unet_cross:x", (2, 1, 32, 32)), array("unet_cross:cond", (2, 64))
    with torch.inference_mode():
        found = load_arrays(reference, weights).eval()(*map(torch.from_numpy, (x_t, golden["t"], cond)))
    assert relative_error(found, golden["y"]) < 1e-5


# Encoders

BESIDE = {
    f"model.{entry}": np.ones(1) for entry in load("spark_resnet50")["meta"]["names"] if "sp_cnn" not in entry
}


def test_pretraining_leaves_its_encoder(alone, tmp_path, capsys):
    state = of_encoder(prefix="model.sparse_encoder.sp_cnn.") | BESIDE
    source = write_checkpoint(tmp_path / "spark.ckpt", state, lightning)
    assert main(["import-torch", str(source), "-o", str(tmp_path / "encoder")]) == 0
    assert f"--config.encoder.init={tmp_path}/encoder" in capsys.readouterr().out
    kept = read_encoder(tmp_path / "encoder" / "encoder.safetensors")
    params = kept["params"]["encoder"]
    assert "fc" not in params and {collection: list(tree) for collection, tree in kept.items()} == {
        "params": ["encoder"],
        "batch_stats": ["encoder"],
    }
    conv = state["model.sparse_encoder.sp_cnn.layer3.1.conv2.weight"]
    np.testing.assert_array_equal(np.moveaxis(params["layer3_1"]["conv2"]["kernel"], (3, 2), (0, 1)), conv)
    lines = (tmp_path / "encoder" / "key_map.txt").read_text().splitlines()
    left = {line.split()[0] for line in lines if line.endswith(" left out")}
    assert left >= set(BESIDE) | {"model.sparse_encoder.sp_cnn.fc.weight"}
    assert len(lines) == len(state)

    strange = write_checkpoint(tmp_path / "strange.ckpt", state | {"model.other.weight": np.ones(1)})
    with pytest.raises(CheckpointError, match="strange.ckpt: .* unexpected: model.other.weight"):
        import_torch(strange, tmp_path / "strange")
    stem = "model.sparse_encoder.sp_cnn.conv1.weight"
    stemless = write_checkpoint(tmp_path / "stem.ckpt", {n: e for n, e in state.items() if n != stem})
    with pytest.raises(CheckpointError, match="stem.ckpt: no entry conv1.weight"):
        import_torch(stemless, tmp_path / "strange")
    with pytest.raises(UsageError, match="encoder alone, which has no config"):
        import_torch(source, tmp_path / "strange", SMALL)
    assert not (tmp_path / "strange").exists()


def test_an_encoder_alone_agrees_with_torch(torch, tmp_path):
    source = write_checkpoint(tmp_path / "resnet.pt", of_encoder(prefix=""))
    imported = import_torch(source, tmp_path / "encoder")
    assert imported.names["layer1.0.bn1.running_var"] == "batch_stats/encoder/layer1_0/bn1/var"
    assert imported.differences["encoder"].largest < 1e-4 * imported.differences["encoder"].of
    assert equal(
        jax.device_get(imported.variables), read_encoder(tmp_path / "encoder" / "encoder.safetensors")
    )


# Refusals


def test_anything_without_its_place_is_refused_and_leaves_nothing(alone, tmp_path, capsys):
    state = of_unet(UNet(8, (1,), 1))
    missing, misshapen = "diffusion.model.middle_block.0.skip.bias", "diffusion.model.out.2.bias"
    missing = "diffusion.model.middle_block.1.qkv.bias"
    cases = {
        "missing": ({n: e for n, e in state.items() if n != missing}, f"missing: {missing}"),
        "unexpected": (state | {"diffusion.extra": np.ones(2)}, "unexpected: diffusion.extra"),
        "misshapen": (state | {misshapen: np.ones(2)}, rf"misshapen: {misshapen} \(2,\) instead of \(1,\)"),
        "infinite": (state | {misshapen: np.array([np.inf])}, f"NaN or infinity in 1 entries .{misshapen}"),
    }
    for case, (entries, reason) in cases.items():
        source = write_checkpoint(tmp_path / f"{case}.ckpt", entries, lightning)
        with pytest.raises(CheckpointError, match=f"{case}.ckpt: .*{reason}"):
            import_torch(source, tmp_path / "new" / "model", SMALL)
        assert main(["import-torch", str(source), "-o", str(tmp_path / "new" / "model")]) == 5
        assert capsys.readouterr().err.count("\n") == 1
    source = write_checkpoint(tmp_path / "good.ckpt", state)
    with pytest.raises(
        UsageError, match="model.channels=16: the weights are of a model with model.channels 8"
    ):
        import_torch(source, tmp_path / "new" / "model", ["--config.model.channels=16"])
    with pytest.raises(UsageError, match="unknown config key"):
        import_torch(source, tmp_path / "new" / "model", ["--config.model.chanels=16"])
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="exists already"):
        import_torch(source, tmp_path, SMALL)
    with pytest.raises(UsageError, match="cannot be written"):
        import_torch(source, "/proc/none/model", SMALL)


def test_an_import_that_breaks_off_leaves_nothing(alone, tmp_path, monkeypatch):
    source = write_checkpoint(tmp_path / "good.ckpt", of_unet(UNet(8, (1,), 1)))
    monkeypatch.setattr("cdm_jax.import_torch.write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        import_torch(source, tmp_path / "model", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["good.ckpt"]


def test_a_hostile_checkpoint_is_imported_past_its_code(alone, tmp_path):
    hostile = Code(name("os", "system") + code((f"touch {tmp_path}/marker",)) + b"R")
    state = of_unet(UNet(8, (1,), 1))
    source = write_checkpoint(tmp_path / "a.ckpt", state, lambda e: lightning(e, callbacks={"x": hostile}))
    import_torch(source, tmp_path / "model", SMALL)
    assert not (tmp_path / "marker").exists()
