"""Noise equals the published fields and a scalar reference, and an image's noise depends on its key alone."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import load
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.noise import NOISES, gaussian, image_keys, simplex
from cdm_jax.noise.opensimplex import GRADIENTS, evaluate, permutation_from_seed, stencil_at
from cdm_jax.noise.simplex import OCTAVE_RMS, octave_field
from cdm_jax.reconstruct import by_name

SEEDS = (7, 123456789, -987654321)
LAYERS = {"2-D": None, "3-D": 5}


@pytest.fixture(scope="module")
def golden():
    return load("simplex")


@pytest.mark.parametrize("seed", SEEDS)
def test_table_of_a_seed_is_the_published_one(golden, seed):
    np.testing.assert_array_equal(permutation_from_seed(seed), golden[f"perm_{seed}"])


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("field96", 96, {}),
        ("field32_oct1_f16", 32, {"octaves": 1, "frequency": 16}),
        ("field3d_T5", 32, {"octaves": 4, "persistence": 0.7, "frequency": 32, "z": 5}),
    ],
)
def test_fields_are_the_published_ones(golden, name, size, options):
    tables = jnp.stack([permutation_from_seed(seed) for seed in SEEDS])
    fields = jax.jit(jax.vmap(lambda table: octave_field(table, size, size, **options)))(tables)
    expected = np.stack([golden[f"{name}_{seed}"].reshape(size, size) for seed in SEEDS])
    assert fields.dtype == jnp.float32
    np.testing.assert_allclose(fields, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("z", LAYERS.values(), ids=LAYERS)
def test_columns_are_x_and_rows_are_y(z):
    table, point = permutation_from_seed(3), (11 / 16, 6 / 16)
    field = octave_field(table, 9, 14, octaves=1, frequency=16, z=z)
    expected = _reference(table, np.array(point if z is None else (*point, z / 16)))
    assert field.shape == (9, 14)
    assert float(field[6, 11]) == pytest.approx(expected, abs=1e-6)


def _reference(table, point):
    """OpenSimplex at one point: 2-D sums all vertices in range, 3-D those that the original picks."""
    n = len(point)
    squish = ((n + 1) ** 0.5 - 1) / n
    stretched = point - squish / (1 + n * squish) * point.sum()
    cell = np.floor(stretched)
    if n == 2:
        offsets = itertools.product(range(-2, 4), repeat=2)
    else:
        offsets = _vertices_3d(*(float(x) for x in stretched - cell))
    value = 0.0
    for offset in offsets:
        vertex = cell + offset
        d = point - vertex - squish * vertex.sum()
        hashed = 0
        for coordinate in vertex:
            hashed = int(table[(hashed + int(coordinate)) % 256])
        gradient = GRADIENTS[n][hashed // 2 % 8 if n == 2 else hashed % 24]
        value += max(0.0, 2 - d @ d) ** 4 * (gradient @ d)
    return value / (47 if n == 2 else 103)


def _vertices_3d(x, y, z):
    """Vertices for a point without ties: the corners around it and two beyond the closest ones."""
    inside, e = np.array([x, y, z]), np.eye(3)
    total = inside.sum()
    if total >= 2:  # the cell's upper end, which is the lower end seen from (1, 1, 1)
        return [1 - vertex for vertex in _vertices_3d(1 - x, 1 - y, 1 - z)]
    if total <= 1:
        first, second, third = e[np.argsort(-inside)]
        if 1 - total > np.sort(inside)[1]:  # the origin is one of the two closest corners
            return [0 * first, *e, first - second, first - third]
        return [0 * first, *e, first + second, first + second - third]
    others = total - inside  # above 1: of the opposite corners e and 1 - e the latter is the closer one
    a, b = (e[i] if others[i] < 1 else 1 - e[i] for i in np.argsort(-abs(others - 1))[:2])
    if a.sum() == b.sum() == 1:
        extra = [np.zeros(3), 2 * (a + b) - 1]
    elif a.sum() == b.sum() == 2:
        extra = [np.ones(3), 2 * a * b]
    else:
        far, close = (a, b) if a.sum() == 2 else (b, a)
        extra = [2 * far - 1, 2 * close]
    return [*e, *(1 - e), *extra]


@pytest.mark.parametrize("n", [2, 3])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(-(2**63), 2**63 - 1))
def test_noise_equals_the_scalar_reference(n, seed):
    rng = np.random.default_rng(seed % 2**32)
    table, points = permutation_from_seed(seed), rng.uniform(-300, 300, (50, n))
    expected = [_reference(table, point) for point in points]
    np.testing.assert_allclose(evaluate(stencil_at(points), table), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("n", [2, 3])
def test_noise_is_zero_at_the_lattice_vertices(n):
    vertices = np.array(list(itertools.product(range(-2, 3), repeat=n)))
    points = vertices + ((n + 1) ** 0.5 - 1) / n * vertices.sum(-1, keepdims=True)
    np.testing.assert_allclose(evaluate(stencil_at(points), permutation_from_seed(1)), 0, atol=1e-6)


@pytest.mark.parametrize("n", [2, 3])
def test_one_octave_has_the_documented_size(n):
    rng = np.random.default_rng(n)
    stencil = stencil_at(rng.uniform(0, 200, (4000, n)))
    tables = jnp.stack([rng.permutation(256) for _ in range(64)])
    values = jax.jit(jax.vmap(lambda table: evaluate(stencil, table)))(tables)
    assert float(jnp.sqrt(jnp.mean(values**2))) == pytest.approx(OCTAVE_RMS[n], rel=0.01)
    assert float(values.mean()) == pytest.approx(0, abs=0.01)


def _keys(*seeds):
    return jax.vmap(jax.random.key)(jnp.array(seeds))


@pytest.mark.parametrize("name", NOISES)
@settings(max_examples=15, deadline=None)
@given(
    batch=st.sampled_from([1, 2, 5]),
    place=st.integers(0, 4),
    seed=st.integers(0, 2**31 - 1),
    others=st.integers(0, 2**31 - 1),
)
def test_a_field_depends_on_its_own_key_alone(name, batch, place, seed, others):
    seeds = [(others + i) % 2**31 for i in range(batch)]
    seeds[place % batch] = seed
    alone = NOISES[name](_keys(seed), (1, 20, 12, 2))
    among = NOISES[name](_keys(*seeds), (batch, 20, 12, 2))
    np.testing.assert_array_equal(among[place % batch], alone[0])


@pytest.mark.parametrize("name", NOISES)
def test_keys_and_channels_differ(name):
    eps = np.asarray(NOISES[name](_keys(1, 2), (2, 16, 16, 2)))
    fields = np.moveaxis(eps, -1, 1).reshape(4, -1)
    assert np.abs(np.corrcoef(fields) - np.eye(4)).max() < 0.95
    assert eps.dtype == np.float32


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("key", [jax.random.key(0), _keys(1, 2, 3), jnp.zeros((2, 2), jnp.uint32)])
def test_other_than_one_typed_key_an_image_is_refused(name, key):
    with pytest.raises(ValueError, match="2 typed keys"):
        NOISES[name](key, (2, 8, 8, 1))


def test_gaussian_is_standard_normal():
    eps = gaussian(_keys(3), (1, 200, 200, 1))
    assert float(eps.mean()) == pytest.approx(0, abs=0.02)
    assert float(eps.std()) == pytest.approx(1, abs=0.02)


def test_simplex_is_the_octave_field_of_a_drawn_table():
    """The published default is not normalised; normalising brings the size near one and no more."""
    keys = jax.random.split(jax.random.key(5), 128)
    published, unit = (simplex(keys, (128, 96, 96, 1), normalise=flag) for flag in (False, True))
    assert float(jnp.sqrt(jnp.mean(published**2))) == pytest.approx(0.585, rel=0.05)
    assert float(jnp.sqrt(jnp.mean(unit**2))) == pytest.approx(1, abs=0.06)
    ratio = OCTAVE_RMS[2] * sum(0.64**i for i in range(6)) ** 0.5
    np.testing.assert_allclose(unit * ratio, published, atol=1e-5)
    table = jax.random.permutation(jax.random.split(keys[0], 1)[0], 256)
    np.testing.assert_allclose(published[0, :, :, 0], octave_field(table, 96, 96), atol=1e-5)


def _bits(keys):
    return [tuple(map(int, row)) for row in jax.random.key_data(keys)]


IDS = st.integers(0, 2**32 - 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(IDS, st.integers(0, 200)), min_size=1, max_size=5, unique=True), st.booleans(), IDS)
def test_keys_follow_the_image_and_not_the_batch(images, shared, draw):
    key, (subject, slices) = jax.random.key(0), np.array(images).T
    together = _bits(image_keys(key, subject, slices, draw, shared))
    apart = [_bits(image_keys(key, *([i] for i in image), draw, shared))[0] for image in images]
    assert together == apart
    assert len(set(together)) == len(set(subject) if shared else images)


def test_shared_leaves_out_the_slice_and_nothing_else():
    def bits(seed=0, subject=1, slice_index=2, draw=3, shared=True):
        return _bits(image_keys(jax.random.key(seed), [subject], [slice_index], draw, shared))

    assert bits() == bits(slice_index=9)
    assert len({bits()[0], bits(seed=9)[0], bits(subject=9)[0], bits(draw=9)[0], bits(shared=False)[0]}) == 5


@pytest.mark.parametrize("shared", [True, False])
def test_a_name_is_the_key_of_its_seed_subject_and_slice(shared):
    subject, index = np.array([7, 7, 2**32 - 1], np.uint32), np.array([0, 3, 3], np.uint32)
    names = np.stack([np.full(3, 5, np.uint32), subject, index], axis=-1)
    named = by_name(lambda variables, key, image: jax.random.key_data(key), shared=shared)
    expected = image_keys(jax.random.key(5), subject, index, 0, shared=shared)
    np.testing.assert_array_equal(jax.jit(named)({}, names, None), jax.random.key_data(expected))
