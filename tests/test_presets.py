import inspect
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise import presets
from diffdenoise.errors import ConfigError
from diffdenoise.presets import PRESETS, as_asked, choose_config, make_config

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


@pytest.mark.parametrize(
    ("device", "overrides", "sampled", "preset"),
    [
        ("cuda", {}, False, "fast"),
        ("cuda", {}, True, "gpu"),
        ("cuda", {"teacher": {"steps": 5}}, False, "gpu"),
        ("cpu", {}, False, "fast"),
        ("cpu", {"student": {"steps": 5}}, False, "fast"),
        ("cpu", {}, True, "cpu"),
        ("cpu", {"diffusion": {"steps": 5}}, False, "cpu"),
    ],
)
def test_the_preset_follows_hardware_and_wish(device: str, overrides: dict, sampled: bool, preset: str) -> None:
    assert choose_config(None, device, overrides, sampled).preset == preset
    assert choose_config("smoke", device, overrides, sampled).preset == "smoke"


def test_on_a_gpu_the_steps_of_the_preset_fast_are_larger_unless_they_are_set() -> None:
    sizes = lambda *given: (choose_config(*given).student.batch, choose_config(*given).student.crop)  # noqa: E731
    assert sizes(None, "cuda") == sizes("fast", "cuda") == (16, 128)
    assert sizes(None, "cuda", {"student": {"batch": 5}}) == (5, 128)
    assert sizes(None, "cpu") == sizes(None, "mps") == (4, 64)


def test_the_preset_may_stand_in_the_settings() -> None:
    assert choose_config(None, "cpu", {"preset": "smoke"}) == choose_config("smoke", "cpu")
    assert choose_config(None, "cuda", {"preset": "fast"}) == choose_config("fast", "cuda")
    with pytest.raises(ConfigError, match="settings name 'cpu'"):
        choose_config("fast", "cpu", {"preset": "cpu"})
    with pytest.raises(ConfigError, match="no preset 'huge'"):
        choose_config(None, "cpu", {"preset": "huge"})


def test_a_teacher_to_learn_from_chooses_a_preset_that_has_one() -> None:
    assert choose_config(None, "cpu", {"student": {"learns_from": "teacher"}}).preset == "cpu"
    assert choose_config(None, "cpu", {"student": {"learns_from": "recorrupted"}}).preset == "fast"


def test_settings_of_a_teacher_that_there_is_not_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"diffusion: does nothing.* take the preset cpu or gpu"):
        choose_config("fast", "cpu", {"diffusion": {"steps": 5}})


@pytest.mark.parametrize("overrides", [["a"], "settings.toml", [], 3])
def test_overrides_that_are_no_dictionary_are_refused(overrides: Any) -> None:
    with pytest.raises(ConfigError, match=r"dictionary such as .*read_overrides makes one"):
        choose_config(None, "cpu", overrides)


@pytest.mark.parametrize(
    ("preset", "overrides", "sampled", "said"),
    [
        (None, {}, False, "Preset fast: the student alone."),
        (None, {"preset": "cpu"}, False, "Preset cpu: blind-spot network, diffusion model and student."),
        ("smoke", {"blind_spot": {"patch": 3}}, True, "Preset smoke: blind-spot network, diffusion model and student."),
        (
            None,
            {"rounds": 2, "blind_spot": {"patch": 3}},
            False,
            "because of blind_spot, rounds in the settings; without",
        ),
        (None, {}, True, "because of the samples that are asked for; without, it is fast, the student alone."),
    ],
)
def test_the_preset_is_told_and_what_it_is_taken_for(
    preset: str | None, overrides: dict, sampled: bool, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="diffdenoise"):
        choose_config(preset, "cpu", overrides, sampled)
    (told,) = caplog.messages
    assert said in told
    assert ("without" in told) == ("without" in said)


def test_the_preset_fast_bounds_the_visits_and_leaves_to_the_fit_what_depends_on_it() -> None:
    """Of few pixels more visits made it worse (docs/tried.md); turns and a second opinion cost time, or not."""
    student = PRESETS["fast"].student
    assert student.visits == 700
    assert (student.neighbours, student.series, student.turns, student.second_opinion) == (None, None, None, None)
    assert student.start == "synthetic"
