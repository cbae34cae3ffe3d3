"""Does the PyTorch side of the speed comparison compute what the published code computes, and what we do?"""

import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, generator, load, nhwc, relative_error, weight

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from cdm_jax.models.cddpm import CDDPM as FlaxCDDPM  # noqa: E402
from cdm_jax.models.encoders import ENCODERS, make_encoder  # noqa: E402
from cdm_jax.models.unet import UNet as FlaxUNet  # noqa: E402
from cdm_jax.noise import gaussian  # noqa: E402
from cdm_jax.reconstruct import make_reconstruct  # noqa: E402
from cdm_jax.samplers import SAMPLERS  # noqa: E402
from cdm_jax.schedule import cosine_betas  # noqa: E402
from cdm_jax.schedule import make_schedule as make_flax_schedule  # noqa: E402
from cdm_jax.torch_import import from_torch, to_torch  # noqa: E402
from cdm_jax.torch_reference.cddpm import CDDPM, load_arrays, prepare  # noqa: E402
from cdm_jax.torch_reference.encoder import DEPTHS, ResNet  # noqa: E402
from cdm_jax.torch_reference.sampling import ancestral, ddim, denoiser, ensemble, reconstruct, single_step  # noqa: E402
from cdm_jax.torch_reference.schedule import make_schedule  # noqa: E402
from cdm_jax.torch_reference.unet import UNet  # noqa: E402


@pytest.fixture(autouse=True)
def inference():
    """No gradients; one thread, as small layers on a busy machine wait for their threads most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


def schedule(timesteps=1000):
    return make_schedule(np.cumprod(1 - cosine_betas(timesteps)))


def drawn(name, shape, kind="normal"):
    return torch.from_numpy(array(name, shape, kind))


def with_golden_weights(module):
    state = {name: weight(name, tuple(entry.shape)) for name, entry in module.state_dict().items()}
    return load_arrays(module, state).eval()


def golden_unet(meta, **settings):
    return with_golden_weights(
        UNet(meta["ch"], meta["mult"], meta["blocks"], meta["att"], cond_features=meta["cond"], **settings)
    )


# Networks


@cache
def unet_case(name):
    """The golden network, its inputs and the golden file."""
    golden = load(name)
    features = golden["meta"]["cond"]
    cond = None if features is None else drawn(f"{name}:cond", (2, features))
    inputs = drawn(f"{name}:x", (2, 1, 32, 32)), torch.from_numpy(golden["t"]), cond
    return golden_unet(golden["meta"]), inputs, golden


@pytest.mark.parametrize("name", ["unet_small", "unet_small_attention", "unet_small_unconditional"])
def test_the_unet_is_the_published_one(name):
    unet, inputs, golden = unet_case(name)
    assert set(unet.state_dict()) == set(golden["meta"]["names"])
    assert sum(weights.numel() for weights in unet.parameters()) == golden["meta"]["params"]
    assert relative_error(unet(*inputs), golden["y"]) < 1e-5


def test_the_unet_with_the_condition_as_a_token_is_the_published_one():
    golden = load("unet_small_cross_attention")
    unet = golden_unet(golden["meta"], conditioning="both")
    assert set(unet.state_dict()) == set(golden["meta"]["names"])
    x_t, cond = drawn("unet_cross:x", (2, 1, 32, 32)), drawn("unet_cross:cond", (2, 64))
    assert relative_error(unet(x_t, torch.from_numpy(golden["t"]), cond), golden["y"]) < 1e-5


def test_with_the_condition_as_a_token_alone_both_sides_predict_the_same():
    settings = {"head_channels": 8, "cond_features": 6, "conditioning": "cross_attention"}
    flax, unet = FlaxUNet(16, (1,), 1, **settings), with_golden_weights(UNet(16, (1,), 1, **settings))
    x_t, t, cond = array("token:x", (2, 1, 8, 8)), np.array([3, 700]), array("token:cond", (2, 6))
    inputs = nhwc(x_t), jnp.asarray(t), cond
    template = jax.eval_shape(flax.init, jax.random.key(0), *inputs)
    variables = from_torch({name: entry.numpy() for name, entry in unet.state_dict().items()}, template)
    expected = jax.jit(flax.apply, compiler_options=QUICK)(variables, *inputs)
    found = unet(*map(torch.from_numpy, (x_t, t, cond)))
    assert relative_error(nhwc(found.numpy()), expected) < 1e-4


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_encoder_is_the_published_one(name):
    encoder, golden = ResNet(name, 512), load(f"encoder_{name}")
    assert set(encoder.state_dict()) == set(golden["meta"]["names"])
    image = drawn(f"encoder_{name}:x", (2, 1, 96, 96), "uniform")
    assert relative_error(with_golden_weights(encoder)(image), golden["y_eval"]) < 1e-5


@pytest.mark.parametrize("name", DEPTHS)
def test_the_names_and_shapes_of_every_encoder_are_ours(name):
    assert set(DEPTHS) <= set(ENCODERS)
    template = jax.eval_shape(
        make_encoder(name, 24, width=8).init, jax.random.key(0), jnp.zeros((1, 32, 32, 1))
    )
    state = to_torch(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template))
    load_arrays(ResNet(name, 24, width=8), state)


def test_weights_that_do_not_fit_are_refused():
    unet = UNet(8, (1,), 1)
    state = {name: entry.numpy() for name, entry in unet.state_dict().items()}
    with pytest.raises(RuntimeError, match="out.0.scale"):
        load_arrays(unet, state | {"out.0.scale": np.zeros(8)})
    with pytest.raises(ValueError, match="condition"):
        unet(torch.zeros(1, 1, 8, 8), torch.zeros(1), torch.zeros(1, 8))


# The fast form


def test_channels_last_reaches_every_convolution_and_changes_nothing():
    unet, (x_t, t, cond), _ = unet_case("unet_small_attention")
    model = CDDPM(unet, with_golden_weights(ResNet("resnet18", 64)))
    image = drawn("encoder", (2, 1, 32, 32), "uniform")
    expected = [model.encode(image), unet(x_t, t, cond)]

    prepare(model)
    layouts = []
    hooks = [
        layer.register_forward_hook(
            lambda layer, given, out: layouts.append(
                [x.is_contiguous(memory_format=torch.channels_last) for x in (*given, out)]
            )
        )
        for layer in model.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    found = [model.encode(image), unet(x_t, t, cond)]
    for hook in hooks:
        hook.remove()
    model.to(memory_format=torch.contiguous_format)
    assert np.all(layouts) and len(layouts) == len(hooks)
    for plain, fast in zip(expected, found, strict=True):
        assert relative_error(fast, plain) < 1e-5


def test_bfloat16_agrees_and_ends_in_float32():
    name = "unet_small_attention"
    golden = load(name)
    model = CDDPM(golden_unet(golden["meta"]), with_golden_weights(ResNet("resnet18", 64)))
    image, eps = drawn("image", (2, 1, 32, 32), "uniform"), drawn("eps", (2, 1, 32, 32))
    run = lambda: reconstruct(model, schedule(), single_step, image, eps=eps, t_start=500)  # noqa: E731
    plain = run()
    prepare(model, dtype="bfloat16")
    fast = run()
    assert fast.dtype == torch.float32
    assert 1e-4 < relative_error(fast, plain) < 0.05


# Reconstructions

SHAPE = (4, 1, 32, 32)


@cache
def golden_model(name):
    """The golden denoiser without an encoder, as a model that sees a fixed condition."""
    return CDDPM(golden_unet(load(name)["meta"]["unet"]))


@pytest.mark.parametrize("t", [0, 249, 499, 999])
@pytest.mark.parametrize("prediction", ["x0", "eps_published"])
def test_single_steps_are_the_published_ones(prediction, t):
    denoise = denoiser(golden_model("diffusion_loss"), drawn("loss:cond", (4, 64)), schedule(), prediction)
    x0 = 2 * drawn("loss:x0", SHAPE, "uniform") - 1
    x0_hat = single_step(denoise, schedule(), x0, drawn("loss:noise", SHAPE), t_start=t + 1)
    name = "x0" if prediction == "x0" else "noise"
    assert relative_error((x0_hat + 1) / 2, load("diffusion_loss")[f"pred_{name}_t{t}_reco"]) < 1e-4


@pytest.mark.parametrize(("prediction", "name"), [("x0", "sampling_pred_x0"), ("eps", "sampling_pred_noise")])
def test_ancestral_sampling_is_the_published_one(prediction, name):
    short, golden = schedule(50), load(name)
    x0 = 2 * drawn("loss:x0", SHAPE, "uniform") - 1
    # The published sampler noises to step index 25 but first denoises index 24: its start is given.
    eps = (torch.from_numpy(golden["ddpm_start"]) - float(short.signal[25]) * x0) / float(short.sigma[25])
    denoise = denoiser(golden_model(name), drawn("loss:cond", (4, 64)), short, prediction)
    x0_hat = ancestral(denoise, short, x0, eps, lambda t: drawn(f"sampling:noise{24 - t}", SHAPE), t_start=25)
    assert relative_error(x0_hat, golden["ddpm_final"]) < 1e-3


@pytest.mark.parametrize("eta", [0, 1])
def test_ddim_is_the_reference_scheduler(eta):
    golden, full = load("samplers_gaussian"), schedule()
    mu, x_start = (torch.from_numpy(golden[name]).float() for name in ("mu", "x_start"))
    variance, timesteps = golden["meta"]["data_std"] ** 2, golden[f"ddim_eta{eta}_timesteps"].tolist()

    def posterior_mean(x_t, t):
        signal, sigma = float(full.signal[t[0] + 1]), float(full.sigma[t[0] + 1])
        return mu + signal * variance / (signal**2 * variance + sigma**2) * (x_t - signal * mu)

    def step_eps(t):
        normal = generator(f"samplers:noise{timesteps.index(t)}").standard_normal(mu.shape)
        return torch.from_numpy(normal).float()

    eps = (x_start - float(full.signal[501]) * mu) / float(full.sigma[501])
    visits = [*(t + 1 for t in timesteps), 0]
    for part, name in ((visits[:2], "after1"), (visits, "final")):
        found = ddim(posterior_mean, full, mu, eps, step_eps, visits=part, eta=eta, clip=False)
        assert relative_error(found, golden[f"ddim_eta{eta}_{name}"]) < 1e-4


def test_no_noising_step_is_the_identity():
    x0 = drawn("oracle", SHAPE)
    for sample, given in ((single_step, {"t_start": 0}), (ddim, {"visits": [0]})):
        assert torch.equal(sample(None, schedule(), x0, x0, **given), x0)
    assert torch.equal(ancestral(None, schedule(), x0, x0, None, t_start=0), x0)


# The same image from our samplers and from these

KEYS = jax.random.split(jax.random.key(3), 3)
IMAGE = array("both", (3, 1, 16, 16), "uniform")
LEVELS = {"t_starts": (10, 20, 45)}
WALK = {"visits": (20, 11, 4, 0), "eta": 0.7}
QUICK = {"xla_backend_optimization_level": 0}  # to compile, not to run


@cache
def both():
    """Our tiny model with its variables, and the same in torch."""
    sizes = {"cond_features": 12, "head_channels": 8, "attention_levels": (2,)}
    flax = FlaxCDDPM(FlaxUNet(16, (1, 2), 1, **sizes), make_encoder("resnet18", 12, width=8))
    inputs = nhwc(IMAGE), nhwc(IMAGE), jnp.zeros(3, jnp.int32)
    template = jax.eval_shape(flax.init, jax.random.key(0), *inputs)
    blank = to_torch(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template))
    variables = from_torch({name: weight(name, entry.shape) for name, entry in blank.items()}, template)
    model = CDDPM(UNet(16, (1, 2), 1, **sizes), ResNet("resnet18", 12, width=8))
    return flax, variables, prepare(load_arrays(model, to_torch(variables)))


def noise_of(keys):
    """Our gaussian noise of the images, in torch layout."""
    return torch.from_numpy(np.moveaxis(np.array(gaussian(keys, (3, 16, 16, 1))), -1, 1))


def folded(number):
    """Noise of an ensemble's draw, or of the step that leaves a step index: our samplers fold both in."""
    return noise_of(jax.vmap(jax.random.fold_in, (0, None))(KEYS, number))


def draws():
    return torch.stack([folded(0), folded(1)])


@pytest.mark.parametrize(
    ("name", "settings", "sample", "prediction", "given"),
    [
        ("single_step", {"t_start": 20}, single_step, "x0", {"t_start": 20}),
        ("ensemble", {**LEVELS, "draws": 2}, ensemble, "eps", LEVELS),
        ("ddpm", {"t_start": 8}, ancestral, "x0", {"t_start": 8, "steps_eps": folded}),
        ("ddim", WALK, ddim, "eps", {**WALK, "step_eps": folded}),
    ],
)
def test_both_sides_give_the_same_image(name, settings, sample, prediction, given):
    flax, variables, model = both()
    ours = make_reconstruct(
        flax, make_flax_schedule(timesteps=50), gaussian, SAMPLERS[name], prediction=prediction, **settings
    )
    expected = jax.jit(ours, compiler_options=QUICK)(variables, KEYS, nhwc(IMAGE))
    eps = draws() if sample is ensemble else noise_of(KEYS)
    found = reconstruct(
        model, schedule(50), sample, torch.from_numpy(IMAGE), prediction=prediction, eps=eps, **given
    )
    # Random weights magnify rounding: from one layout to the other this network's eight steps move by 2e-4.
    assert relative_error(nhwc(found.numpy()), expected) < 1e-3
    assert relative_error(expected, nhwc(IMAGE)) > 0.05
