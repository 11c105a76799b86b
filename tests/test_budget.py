import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.budget import parse_budget, plan
from diffdenoise.errors import ConfigError
from diffdenoise.presets import PRESETS


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), (" 2M ", 120)]
)
def test_times_people_write(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "10 minutes", "-5m", "0", "m10"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        parse_budget(text)


@given(
    budget=st.floats(60, 10_000),
    per_step=st.floats(0.001, 1),
    per_slice=st.floats(0.01, 20),
    slices=st.integers(1, 2000),
)
def test_the_plan_fits_the_budget(budget: float, per_step: float, per_slice: float, slices: int) -> None:
    stages = ("blind_spot", "diffusion", "student")
    seconds = {name: lambda: per_step for name in stages} | {"teacher": lambda: per_slice}
    config = plan(PRESETS["cpu"], budget, seconds, slices)
    steps = sum(getattr(config, name).steps for name in stages)
    sampled = config.teacher.slices or slices
    at_least = 30 * per_step + per_slice
    assert steps * per_step + sampled * per_slice <= max(budget, at_least + budget)
    assert 1 <= sampled <= slices
    if at_least < 0.05 * budget:
        assert 0.85 * budget < steps * per_step + sampled * per_slice < budget
