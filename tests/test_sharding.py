"""One device gives what eight give, by jit over a mesh and by pmap, for any batch size."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import weight

from cdm_jax.errors import UsageError
from cdm_jax.models.cddpm import CDDPM
from cdm_jax.models.unet import UNet
from cdm_jax.noise import gaussian, simplex
from cdm_jax.reconstruct import make_reconstruct
from cdm_jax.samplers import SAMPLERS
from cdm_jax.schedule import make_schedule
from cdm_jax.sharding import WRAPPINGS, check_dtype, over_mesh, pick_devices
from cdm_jax.torch_import import from_torch, to_torch

SIZE = 16


@pytest.fixture(scope="module")
def model():
    """A small unconditional model and variables without zeros, so that its output depends on everything."""
    network = CDDPM(UNet(8, (1, 2), 1))
    image = jnp.zeros((1, SIZE, SIZE, 1))
    template = jax.eval_shape(network.init, jax.random.key(0), image, image, jnp.zeros(1, jnp.int32))
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
    state = {name: weight(name, entry.shape) for name, entry in to_torch(blank).items()}
    return network, from_torch(state, template)


def batch(count: int):
    """Keys and images in [0, 1]."""
    images = np.random.default_rng(0).random((count, SIZE, SIZE, 1), np.float32)
    return jax.random.split(jax.random.key(1), count), images


@pytest.mark.parametrize("wrap", WRAPPINGS)
@pytest.mark.parametrize(("sampler", "count"), [("ensemble", 1), ("ensemble", 13), ("ddpm", 16)])
def test_outputs_do_not_depend_on_the_devices(model, wrap, count, sampler):
    network, variables = model
    settings = {"t_starts": (5, 10)} if sampler == "ensemble" else {"t_start": 3}
    function = make_reconstruct(
        network, make_schedule("cosine", 20), simplex, SAMPLERS[sampler], prediction="x0", **settings
    )
    alone = over_mesh(function, pick_devices(1))
    spread = WRAPPINGS[wrap](function, pick_devices(8), donate=(2,))
    expected = alone(alone.place(variables), *batch(count))
    actual = spread(spread.place(variables), *batch(count))
    assert actual.shape == expected.shape and np.std(expected) > 0.01
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("wrap", WRAPPINGS)
@pytest.mark.parametrize("noise", [gaussian, partial(simplex, octaves=3)], ids=["gaussian", "simplex"])
@pytest.mark.parametrize("devices", [3, 8])
def test_noise_is_bit_equal_on_any_number_of_devices(wrap, noise, devices):
    keys, images = batch(13)
    spread = WRAPPINGS[wrap](lambda _, key, image: noise(key, image.shape), pick_devices(devices))
    np.testing.assert_array_equal(spread(spread.place({}), keys, images), noise(keys, images.shape))


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_the_batch_is_cut_and_the_variables_are_on_every_device(wrap):
    seen = []
    spread = WRAPPINGS[wrap](lambda w, x: x * w["w"], pick_devices(8))
    placed = spread.place({"w": np.float32(3)})
    assert placed["w"].sharding.device_set == set(jax.devices())
    out = spread(placed, np.arange(16.0))
    seen = {shard.device: shard.data.size for shard in out.addressable_shards}
    assert set(seen) == set(jax.devices()) and set(seen.values()) == {2}


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_device_computes_its_own_rows_alone(wrap):
    seen = []

    def function(variables, image):
        seen.append(len(image))
        return image * variables

    spread = WRAPPINGS[wrap](function, pick_devices(8))
    np.testing.assert_array_equal(spread(spread.place(np.float32(2)), np.arange(16.0)), 2 * np.arange(16.0))
    assert set(seen) == {2}


def test_devices_that_are_not_there_are_refused():
    assert len(pick_devices()) == 8 and len(pick_devices(3)) == 3
    for count in (0, 9):
        with pytest.raises(UsageError, match=f"{count} devices asked for"):
            pick_devices(count)


def test_a_dtype_that_a_device_lacks_is_refused(monkeypatch):
    device = jax.devices()[3]
    for dtype in ("float32", "bfloat16"):
        check_dtype(device, dtype)

    def lacking(*_):
        raise jax.errors.JaxRuntimeError("UNIMPLEMENTED: bf16")

    monkeypatch.setattr(jnp, "ones", lacking)
    with pytest.raises(UsageError, match="cpu cannot compute in bfloat16: choose float32"):
        check_dtype(device, "bfloat16")


PROCESS = """
import sys
import jax
import numpy as np
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
from cdm_jax.noise import image_keys, simplex
from cdm_jax.sharding import over_mesh

def function(w, name, image):
    return image * w + simplex(image_keys(jax.random.key(0), name, name, 0), image.shape)

names = np.arange(10, dtype=np.uint32)
images = np.random.default_rng(0).random((10, 8, 8, 1), np.float32)
spread = over_mesh(function, jax.devices())
mine = slice(0, 5) if jax.process_index() == 0 else slice(5, 10)
out = spread(spread.place(np.float32(2)), names[mine], images[mine])
expected = jax.jit(function)(np.float32(2), names, images)[mine]
assert len(jax.devices()) == 4 and out.shape == expected.shape
np.testing.assert_allclose(out, expected, atol=1e-6)
print("same")
"""


def test_two_processes_give_what_one_gives():
    import socket

    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    settings = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    both = [
        subprocess.Popen([sys.executable, "-c", PROCESS, port, str(n)], env=settings, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for n in range(2)
    ]  # fmt: skip
    for process in both:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0 and "same" in out, error[-2000:]
