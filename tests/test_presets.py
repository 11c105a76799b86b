import inspect
import re

import pytest

from diffdenoise import presets
from diffdenoise.presets import PRESETS

UNUSED = {
    "diffusion": {"hidden_share", "damping"},
    "teacher": {"slices"},
    "student": {"recorruption"},
    "": {"seed", "sigma", "counts", "preset"},
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


def test_every_preset_has_its_own_name() -> None:
    assert all(config.preset == name for name, config in PRESETS.items())
