import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.noise.stabilise import Stabilisation, stabilise

KNOTS = np.linspace(0.02, 1, 12)


def _poisson(lam: float) -> Stabilisation:
    return stabilise(NoiseLevel(tuple(KNOTS), tuple(np.sqrt(KNOTS / lam))))


@pytest.mark.parametrize("lam", [50, 200, 700])
@pytest.mark.parametrize("brightness", [0.2, 0.5, 0.9])
def test_the_noise_is_as_strong_everywhere_and_the_mean_comes_back(lam: float, brightness: float) -> None:
    table = _poisson(lam)
    stable = table.forward(np.random.default_rng(0).poisson(lam * brightness, 400_000) / lam).astype(np.float64)
    assert stable.std() == pytest.approx(table.sigma, rel=0.05)
    assert table.inverse(stable.mean()) == pytest.approx(brightness, rel=0.005)


def test_the_plain_inverse_would_be_biased() -> None:
    table = _poisson(50)
    mean = table.forward(np.random.default_rng(0).poisson(10, 400_000) / 50).mean(dtype=np.float64)
    assert np.interp(mean, table.stable, table.brightness) < 0.98 * 0.2


@given(
    sigma=st.lists(st.floats(1e-3, 0.5), min_size=2, max_size=12),
    values=st.lists(st.floats(-3, 4), min_size=2, max_size=20),
)
def test_both_ways_rise(sigma: list[float], values: list[float]) -> None:
    table = stabilise(NoiseLevel(tuple(np.linspace(0, 1, len(sigma))), tuple(sigma)))
    rising = np.sort(values)
    for change in (table.forward, table.inverse):
        assert (np.diff(change(rising)) >= -1e-6).all()  # to the rounding of float32
    assert table.forward(np.array([0.0, 1.0])) == pytest.approx([0, 1], abs=0.01)
    for part in (table.brightness, table.stable, table.mean):
        assert (np.diff(part) > 0).all()


@given(sigma=st.floats(1e-4, 2), value=st.floats(-100, 100))
def test_a_constant_level_changes_nothing(sigma: float, value: float) -> None:
    table = stabilise(constant_level(sigma))
    assert table.sigma == pytest.approx(sigma, rel=1e-6)
    assert table.forward(np.array(value)) == pytest.approx(value, rel=1e-4, abs=1e-4)
    assert table.inverse(np.array(value)) == pytest.approx(value, rel=1e-4, abs=1e-4)


def test_tables_survive_json_and_shapes_stay() -> None:
    table = _poisson(200)
    back = Stabilisation(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(json.dumps(asdict(table))).items()}
    )
    assert back == table
    assert table.forward(np.zeros((2, 3, 4))).shape == (2, 3, 4)
    assert table.forward(np.zeros((2, 3))).dtype == np.float32


def test_no_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="no noise"):
        stabilise(constant_level(0.0))
