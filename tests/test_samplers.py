"""Samplers equal the published and the reference ones, and converge at the order that theory gives."""

import dataclasses
import inspect
import re
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, generator, load, nhwc, relative_error
from golden_models import golden_unet, golden_variables
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.diffusion import bind_denoiser, q_sample, to_model_range
from cdm_jax.errors import UsageError
from cdm_jax.noise import NOISES
from cdm_jax.samplers import MEMBERS, SAMPLERS
from cdm_jax.samplers.ddim_encode import encode
from cdm_jax.samplers.ensemble import mean_and_variance, members
from cdm_jax.samplers.evaluations import evaluations
from cdm_jax.samplers.spacing import SPACINGS, plan
from cdm_jax.schedule import eps_from_x0, make_schedule

SCHEDULE = make_schedule()
SHORT = make_schedule(timesteps=50)
GAUSSIAN = load("samplers_gaussian")
ITERATIVE = [name for name, sample in MEMBERS.items() if "steps" in inspect.signature(sample).parameters]
SETTINGS = {name: {"steps": 4} if name in ITERATIVE else {} for name in MEMBERS}
X0 = jnp.asarray(array("oracle", (3, 8, 8, 1), "uniform")) * 2 - 1


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def replay(schedule, key, x0, n, x_t, added=None):
    """A noise that puts x0 at x_t on level n, then gives added[t] to the step that leaves step index t."""
    added = added or {}
    fields = jnp.stack([eps_from_x0(schedule, x_t, jnp.full(len(x0), n - 1), x0), *added.values()])
    known = jax.random.key_data(jnp.stack([key[0], *(jax.random.fold_in(key[0], t) for t in added)]))

    def noise(key, shape):
        return fields[jnp.argmax((jax.random.key_data(key[0]) == known).all(axis=-1))]

    return noise


# The published ancestral sampler: a trained network's steps, from its own start


@cache
def golden_predict(name):
    cond, x = array("loss:cond", (4, 64)), jnp.zeros((4, 32, 32, 1))
    network = golden_unet(load(name)["meta"]["unet"])
    variables = golden_variables(network, x, jnp.zeros(4, jnp.int32), cond)
    return lambda x_t, t: network.apply(variables, x_t, t, cond)


@pytest.mark.parametrize("prediction", ["x0", "eps"])
def test_ancestral_sampling_equals_the_published_one(prediction):
    name = {"x0": "sampling_pred_x0", "eps": "sampling_pred_noise"}[prediction]
    golden = {field: nhwc(a) for field, a in load(name).items() if field.startswith("ddpm")}
    x0 = to_model_range(jnp.asarray(nhwc(array("loss:x0", (4, 1, 32, 32), "uniform"))))
    eps = nhwc(array("loss:noise", (4, 1, 32, 32)))
    # It noises to step index 25 but first denoises index 24, so the start of level 25 is replayed.
    assert relative_error(q_sample(SHORT, x0, jnp.full(4, 25), eps), golden["ddpm_start"]) < 1e-5
    added = {24 - i: nhwc(array(f"sampling:noise{i}", (4, 1, 32, 32))) for i in range(25)}
    noise = replay(SHORT, keys(4), x0, 25, golden["ddpm_start"], added)
    denoise = bind_denoiser(golden_predict(name), SHORT, prediction)
    sample = jax.jit(partial(MEMBERS["ddpm"], denoise, SHORT, noise, t_start=25, trajectory=True))
    x0_hat, xs = sample(keys(4), x0)
    for field, found in {"after1": xs[0], "after10": xs[9], "final": x0_hat}.items():
        assert relative_error(found, golden[f"ddpm_{field}"]) < 1e-3


# Gaussian data, where the best denoiser and the probability flow are known in closed form


def gaussian_denoiser(schedule, mu, std):
    """The posterior mean of N(mu, std^2) data."""

    def denoise(x_t, t):
        signal, sigma = (c[t][:, None, None, None] for c in (schedule.signal, schedule.sigma))
        gain = signal * std**2 / (signal**2 * std**2 + sigma**2)
        return mu + gain * (x_t - signal * mu)

    return denoise


def flow(schedule, mu, std, x_t, n, m):
    """The exact probability flow from level n to level m."""

    def mean_and_std(n):
        signal, sigma = (1, 0) if n == 0 else (schedule.signal[n - 1], schedule.sigma[n - 1])
        return signal * mu, jnp.sqrt(signal**2 * std**2 + sigma**2)

    (here, here_std), (there, there_std) = mean_and_std(n), mean_and_std(m)
    return there + there_std * (x_t - here) / here_std


MU, X_START = (nhwc(GAUSSIAN[name]).astype(np.float32) for name in ("mu", "x_start"))
STD = GAUSSIAN["meta"]["data_std"]


@pytest.mark.parametrize("eta", [0, 1])
def test_ddim_equals_the_reference_scheduler(eta):
    timesteps = GAUSSIAN[f"ddim_eta{eta}_timesteps"].tolist()
    drawn = [generator(f"samplers:noise{i}").standard_normal((2, 1, 8, 8)) for i in range(len(timesteps))]
    added = {t: nhwc(field).astype(np.float32) for t, field in zip(timesteps, drawn, strict=True)}
    sample = partial(
        MEMBERS["ddim"],
        gaussian_denoiser(SCHEDULE, MU, STD),
        SCHEDULE,
        replay(SCHEDULE, keys(2), MU, 501, X_START, added),
        clip=False,
        trajectory=True,
        eta=eta,
    )
    x0_hat, xs = sample(keys(2), MU, visits=[*(t + 1 for t in timesteps), 0])
    assert relative_error(xs[0], nhwc(GAUSSIAN[f"ddim_eta{eta}_after1"])) < 1e-4
    assert relative_error(x0_hat, nhwc(GAUSSIAN[f"ddim_eta{eta}_final"])) < 1e-4
    by_rule, _ = sample(keys(2), MU, t_start=501, steps=26, spacing="leading")
    np.testing.assert_array_equal(by_rule, x0_hat)


def error_against_the_flow(name, steps):
    """Largest error at level 20 after `steps` even steps from level 500, in float64."""
    alpha_bar = np.asarray(SCHEDULE.alpha_bar, np.float64)
    schedule = dataclasses.replace(
        jax.tree.map(lambda c: jnp.asarray(c, jnp.float64), SCHEDULE),
        signal=jnp.sqrt(alpha_bar),
        sigma=jnp.sqrt(1 - alpha_bar),
    )
    x_t, mu = jnp.asarray(X_START, jnp.float64), jnp.asarray(MU, jnp.float64)
    visits = np.linspace(500, 20, steps + 1).astype(int)
    denoise, noise = gaussian_denoiser(schedule, mu, STD), replay(schedule, keys(2), mu, 500, x_t)
    found = MEMBERS[name](denoise, schedule, noise, keys(2), mu, visits=visits, clip=False)
    return float(jnp.abs(found - flow(schedule, mu, STD, x_t, 500, 20)).max())


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm_solver", 2), ("heun", 2)])
def test_halving_the_step_divides_the_error_as_the_order_says(name, order):
    with jax.enable_x64(True):
        errors = [error_against_the_flow(name, steps) for steps in (30, 60, 120)]
    np.testing.assert_allclose(-np.diff(np.log2(errors)), order, atol=0.25)


def test_higher_order_reaches_the_exact_solution_sooner():
    exact = nhwc(GAUSSIAN["ode_exact_x0"])
    noise = replay(SCHEDULE, keys(2), MU, 501, X_START)
    denoise = gaussian_denoiser(SCHEDULE, MU, STD)
    error = {}
    for name, steps in {"ddim": 40, "dpm_solver": 40, "heun": 20}.items():  # 40, 40 and 39 denoiser calls
        sample = partial(MEMBERS[name], denoise, SCHEDULE, noise, keys(2), MU, t_start=501, clip=False)
        error[name] = relative_error(sample(steps=steps, spacing="log_snr"), exact)
    assert 20 * error["dpm_solver"] < error["ddim"]
    assert 2 * error["heun"] < error["ddim"]


def test_encoding_follows_the_flow_and_decoding_returns():
    x0, denoise = jnp.asarray(MU) + 0.3, gaussian_denoiser(SCHEDULE, MU, STD)
    visits = plan(SCHEDULE, 500, 250)
    latent = encode(denoise, SCHEDULE, x0, visits, clip=False)
    assert relative_error(latent, flow(SCHEDULE, MU, STD, x0, 1, 500)) < 0.01
    back = MEMBERS["ddim_encode"](denoise, SCHEDULE, None, keys(2), x0, t_start=500, steps=250, clip=False)
    assert relative_error(back, x0) < 0.01


def test_ddim_with_full_noise_at_every_level_is_ancestral():
    sample = {
        name: partial(
            MEMBERS[name], gaussian_denoiser(SHORT, 0.2, STD), SHORT, NOISES["simplex"], keys(3), X0
        )
        for name in ("ddpm", "ddim")
    }
    ddim = sample["ddim"](t_start=30, steps=30, eta=1.0)
    np.testing.assert_allclose(ddim, sample["ddpm"](t_start=30), atol=2e-5)


@pytest.mark.parametrize("name", ["ddim", "dpm_solver", "heun"])
def test_one_step_is_the_single_step(name):
    denoise = gaussian_denoiser(SHORT, 0.2, STD)
    args = (denoise, SHORT, NOISES["gaussian"], keys(3), X0)
    np.testing.assert_allclose(
        MEMBERS[name](*args, t_start=40, steps=1, clip=False),
        MEMBERS["single_step"](*args, t_start=40),
        atol=1e-6,
    )


# Laws of every sampler


def nonlinear(x_t, t):
    """A denoiser whose answer depends on the whole image."""
    return jnp.tanh(x_t - x_t.mean(axis=(1, 2, 3), keepdims=True) + t[:, None, None, None] / 100)


@cache
def jitted(name, **given):
    """The sampler as a compiled function of key and x0, with the denoiser above."""
    return jax.jit(partial(SAMPLERS[name], nonlinear, SHORT, NOISES["simplex"], **given))


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(MEMBERS)), st.integers(4, 50), st.sampled_from(sorted(SPACINGS)))
def test_an_oracle_denoiser_gives_back_x0(name, t_start, spacing):
    rule = {"spacing": spacing} if name in ITERATIVE else {}
    given = {"t_start": t_start, **SETTINGS[name], **rule}
    sample = jax.jit(partial(MEMBERS[name], lambda x_t, t: X0, SHORT, NOISES["gaussian"], **given))
    np.testing.assert_allclose(sample(keys(3), X0), X0, atol=1e-5)


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_no_noising_step_is_the_identity(name):
    np.testing.assert_array_equal(jitted(name, t_start=0)(keys(3), X0), X0)


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_the_trajectory_ends_in_the_result(name):
    x0_hat, xs = jitted(name, t_start=12, trajectory=True, **SETTINGS[name])(keys(3), X0)
    steps = {"single_step": 1, "ddpm": 12, "ddim_encode": 8}.get(name, 4)
    assert xs.shape == (steps, *X0.shape)
    np.testing.assert_array_equal(xs[-1], x0_hat)
    np.testing.assert_allclose(jitted(name, t_start=12, **SETTINGS[name])(keys(3), X0), x0_hat, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(MEMBERS)), st.integers(0, 2**31))
def test_a_result_depends_on_its_key_and_image_alone(name, seed):
    stochastic = {"eta": 0.5} if name == "ddim" else {}
    sample, key = jitted(name, t_start=12, **SETTINGS[name], **stochastic), keys(3, seed)
    whole = sample(key, X0)
    np.testing.assert_array_equal(sample(key, X0), whole)
    np.testing.assert_allclose(sample(key[1:2], X0[1:2]), whole[1:2], atol=1e-5)
    if name != "ddim_encode":
        assert not np.allclose(sample(keys(3, seed + 1), X0), whole)


def test_stochastic_steps_draw_fresh_noise():
    drawn = []

    def noise(key, shape):
        jax.debug.callback(lambda k: drawn.append(tuple(k.ravel().tolist())), jax.random.key_data(key))
        return NOISES["gaussian"](key, shape)

    MEMBERS["ddpm"](nonlinear, SHORT, noise, keys(3), X0, t_start=6)
    jax.effects_barrier()
    assert len(drawn) == len(set(drawn)) == 7


def test_clipping_bounds_the_reconstruction():
    sample = partial(MEMBERS["ddim"], lambda x_t, t: 3 * X0, SHORT, NOISES["gaussian"], keys(3), X0)
    np.testing.assert_allclose(sample(t_start=20, steps=5), jnp.clip(3 * X0, -1, 1), atol=1e-6)
    np.testing.assert_allclose(sample(t_start=20, steps=5, clip=False), 3 * X0, atol=1e-5)


# Ensembles

LEVELS = {"t_starts": (8, 12), "draws": 2}


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_the_members_of_an_ensemble_are_samples(name):
    inputs = (nonlinear, SHORT, NOISES["simplex"], keys(3), X0)
    found = jax.jit(lambda: members(MEMBERS[name], *inputs, **LEVELS, **SETTINGS[name]))()
    assert found.shape == (4, *X0.shape)
    for draw in range(2):
        key = jax.vmap(jax.random.fold_in, (0, None))(keys(3), draw)
        expected = jitted(name, t_start=12, **SETTINGS[name])(key, X0)
        np.testing.assert_allclose(found[2 * draw + 1], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["ddim", "single_step"])
def test_an_ensemble_is_the_mean_of_its_members(name):
    inputs = (nonlinear, SHORT, NOISES["simplex"], keys(3), X0)
    drawn = members(MEMBERS[name], *inputs, **LEVELS, **SETTINGS[name])
    mean, variance = mean_and_variance(MEMBERS[name], *inputs, **LEVELS, **SETTINGS[name])
    np.testing.assert_allclose(mean, np.mean(drawn, axis=0), atol=1e-6)
    np.testing.assert_allclose(variance, np.var(drawn, axis=0), atol=1e-6)
    assert np.all(variance.mean(axis=(1, 2, 3)) > 1e-4)
    ensemble = jitted("ensemble", member=name, steps=4, **LEVELS)(keys(3), X0)
    np.testing.assert_allclose(ensemble, mean, atol=1e-5)


# Levels, costs and mistakes


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(SPACINGS)), st.integers(1, 1000), st.data())
def test_every_rule_falls_strictly_from_t_start_to_the_clean_image(spacing, t_start, data):
    steps = data.draw(st.integers(1, t_start))
    levels = plan(SCHEDULE, t_start, steps, spacing)
    assert len(levels) == steps + 1
    assert (levels[0], levels[-1]) == (t_start, 0)
    assert np.all(np.diff(levels) < 0)


def test_the_log_snr_rule_is_even_in_log_snr():
    levels = plan(SCHEDULE, 700, 8, "log_snr")
    lam = np.log(SCHEDULE.signal / SCHEDULE.sigma)[levels[:-1] - 1]
    np.testing.assert_allclose(np.diff(lam), (lam[-1] - lam[0]) / 7, rtol=0.25)


@pytest.mark.parametrize(
    ("name", "given", "calls"),
    [
        ("single_step", {"t_start": 500}, 1),
        ("ddpm", {"t_start": 500}, 500),
        ("ddim", {"t_start": 500, "steps": 10, "eta": 1.0}, 10),
        ("dpm_solver", {"t_start": 500, "steps": 10}, 10),
        ("heun", {"t_start": 500, "steps": 10}, 19),
        ("heun", {"visits": (500, 250, 20)}, 4),
        ("ddim_encode", {"t_start": 500, "steps": 10}, 20),
        ("ensemble", {"t_starts": (250, 500, 750), "draws": 2}, 6),
        ("ensemble", {"t_starts": (20, 40), "draws": 3, "member": "ddpm"}, 180),
    ],
)
def test_denoiser_calls_are_counted(name, given, calls):
    assert evaluations(SAMPLERS[name], SCHEDULE, **given) == calls


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        *((name, {"t_start": 51}, "t_start 51 lies outside 0 ... 50") for name in MEMBERS),
        *((name, {"t_start": 20, "steps": 21}, "21 steps do not fit below t_start 20") for name in ITERATIVE),
        *((name, {"t_start": 20, "steps": 0}, "steps must be at least 1") for name in ITERATIVE),
        *((name, {"t_start": 20, "steps": 5, "spacing": "log"}, "leading, linear, log_snr") for name in ITERATIVE),
        ("ddpm", {"t_start": -1}, "t_start -1"),
        ("ddim", {"t_start": 20, "steps": 5, "eta": -0.1}, "eta must not be negative"),
        ("ddim", {"visits": (20, 30, 0)}, "visits must fall"),
        ("ddim", {"visits": (51, 0)}, "visits must fall"),
        ("ensemble", {"t_starts": (20, 51)}, "t_start 51"),
        ("ensemble", {"t_starts": (20,), "draws": 0}, "draws 0"),
        ("ensemble", {"t_starts": ()}, "at least one"),
        ("ensemble", {"member": "ddmp"}, "ddim, ddim_encode, ddpm"),
    ],
)  # fmt: skip
def test_a_bad_setting_is_one_line(name, given, message):
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        SAMPLERS[name](nonlinear, SHORT, NOISES["gaussian"], keys(3), X0, **given)
    assert "\n" not in str(caught.value)


def test_the_sampler_of_the_docs_works():
    page = Path(__file__).parents[1] / "docs" / "samplers.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL).group(1)
    assert code.count("\n") < 40
    exec(code, scope := {})
    sample = partial(scope["renoise"], lambda x_t, t: X0, SHORT, NOISES["simplex"], keys(3), X0)
    x0_hat, xs = sample(t_start=20, steps=5, trajectory=True)
    np.testing.assert_allclose(x0_hat, X0, atol=1e-6)
    assert len(xs) == evaluations(scope["renoise"], SHORT, t_start=20, steps=5) == 5
