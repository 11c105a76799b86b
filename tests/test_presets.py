import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise import presets
from diffdenoise.presets import PRESETS, as_asked, make_config

UNUSED = {
    "diffusion": {"hidden_share", "damping"},
    "teacher": {"slices"},
    "student": {"recorruption", "visits"},
    "": {"seed", "sigma", "counts", "grain", "preset"},
}


def block() -> list[str]:
    """The lines of the paper preset that set something."""
    source = inspect.getsource(presets)
    inside = source[source.index("PAPER = Config(") : source.index("PRESETS = ")]
    return [line for line in inside.splitlines()[1:] if re.match(r"\s+\w+=", line) and not line.rstrip().endswith("(")]


def test_each_setting_of_the_paper_preset_says_where_it_comes_from() -> None:
    unmarked = [line for line in block() if not re.search(r"# \[[PSO]\]", line) and "preset=" not in line]
    assert unmarked == []
    assert len(block()) > 35


@pytest.mark.parametrize("part", ["", "blind_spot", "diffusion", "teacher", "student"])
def test_nothing_of_the_paper_preset_is_left_to_a_default(part: str) -> None:
    settings = getattr(PRESETS["paper"], part) if part else PRESETS["paper"]
    assert set(type(settings).model_fields) - settings.model_fields_set <= UNUSED.get(part, set())


SIZES = st.fixed_dictionaries({}, optional={"batch": st.sampled_from([4, 8, 16]), "crop": st.sampled_from([64, 128])})


@given(SIZES, SIZES, st.sampled_from(["cpu", "cuda"]))
def test_only_what_the_device_decides_is_not_asked_for(one: dict, other: dict, device: str) -> None:
    configs = [make_config("fast", {"student": sizes}, device) for sizes in (one, other)]
    asked = [as_asked(config, device) for config in configs]
    assert (asked[0] == asked[1]) == (configs[0] == configs[1])
    everywhere = [as_asked(make_config("fast", device=device), device) for device in ("cpu", "cuda", "mps")]
    assert everywhere[0] == everywhere[1] == everywhere[2]


def test_every_preset_has_its_own_name() -> None:
    assert all(config.preset == name for name, config in PRESETS.items())
