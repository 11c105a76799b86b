from pathlib import Path

import pytest

from diffdenoise.config import Config, _setting_at, for_sampler, read_overrides
from diffdenoise.errors import ConfigError
from diffdenoise.presets import PRESETS, make_config


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_survive_json(preset: str) -> None:
    config = make_config(preset)
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_overrides_replace_single_settings() -> None:
    config = make_config("cpu", {"seed": 7, "diffusion": {"steps": 12}})
    assert (config.seed, config.diffusion.steps) == (7, 12)
    assert config.diffusion.widths == PRESETS["cpu"].diffusion.widths
    assert PRESETS["cpu"].seed == 0


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"sede": 1}, "sede"),
        ({"diffusion": {"step": 1}}, "diffusion.step"),
        ({"student": {"steps": 0}}, "student.steps"),
        ({"sigma": -1}, "sigma"),
        ({"counts": 0}, "counts"),
        ({"sigma": 0.1, "counts": 200}, "sigma and counts"),
        ({"diffusion": 3}, r"diffusion = 3 \(allowed: settings below a line \[diffusion\]\)"),
        ({"student": {"steps": -5}}, r"student\.steps = -5 \(allowed: a whole number above 0\)"),
        ({"grain": "maybe"}, r'grain = "maybe" \(allowed: "remove" or "keep"\)'),
        ({"sigma": {"x": 1}}, r'sigma = \{"x": 1\} \(allowed: a number above 0\)'),
        ({"student": {"series": 3}}, r"allowed: true or false\)"),
        (
            {"student": {"encoder": ["a"]}},
            r'sense: student\.encoder = \["a"\] \(allowed: a list such as .*above 0\)\.$',
        ),
        (
            {"blind_spot": {"blocks": "x"}},
            r'sense: blind_spot\.blocks = "x" \(allowed: a whole number above 0 or a list',
        ),
        ({"diffusion": {"hidden_share": 0.7}}, "allowed: a number above 0 and of at most 0.5"),
        ({"sigma": float("nan")}, "sigma = NaN"),
        ({1: 2}, "1: Keys should be strings"),
        ({"student": {"budget": "3m"}}, "student.budget: is no setting, but the option --budget of the command"),
        ({"rounds": 2, "student": {"learns_from": "recorrupted"}}, "rounds"),
        ({"student": {"start": "synthetic", "width": 32}}, "weights to start from"),
        ({"student": {"encoder": [1, 1, 1]}}, "equally many levels"),
        ({"student": {"turns": 3}}, "student.turns"),
        ({"student": {"ensemble": "yes"}}, "student.ensemble"),
        ({"teacher": {"steps": 2000}}, "teacher.steps 2000 is more"),
        ({"diffusion": {"network": "improved_ddpm", "widths": [48]}}, "multiples of 32"),
        ({"blind_spot": {"network": "local_global", "widths": [30, 60]}}, "multiples of 4"),
        ({"seed": 2**64}, "seed"),
        ({"blind_spot": {"pooling": "global"}}, "blind_spot.pooling"),
        ({"blind_spot": {"network": "puca", "pooling": "max"}}, "blind_spot.pooling"),
        ({"grian": "keep"}, r"grian: there is no such setting \(did you mean grain\?\)"),
        ({"neighbours": 0}, r"did you mean student\.neighbours\?"),
        ({"student": {"grain": "keep"}}, r"student\.grain: .*did you mean grain\?"),
        ({"student": {"xyz": 1}}, r"student\.xyz: there is no such setting\.$"),
        ({"student": {"recorruption": 0.5}}, "student.recorruption: does nothing"),
        ({"student": {"visits": 9}}, "student.visits: does nothing"),
        ({"student": {"together": 4}}, "student.together: does nothing"),
        ({"student": {"loss": "l1", "learns_from": "recorrupted"}}, "student.loss: does nothing"),
    ],
)
def test_a_wrong_setting_is_named(overrides: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        make_config("cpu", overrides)


def test_of_each_setting_it_can_be_told_what_is_allowed() -> None:
    for name, part in Config.model_fields.items():
        settings = getattr(part.annotation, "model_fields", {None: None})
        for path in ([name] if setting is None else [name, setting] for setting in settings):
            assert _setting_at(path)[0] == path


@pytest.mark.parametrize(("ensemble", "turns"), [(True, 8), (False, 1), (None, None)])
def test_settings_of_earlier_versions_are_understood(ensemble: bool | None, turns: int | None) -> None:
    """Of models that were fitted before, and of files with settings."""
    settings = make_config("fast").model_dump(mode="json")
    del settings["student"]["turns"]
    settings["student"]["ensemble"] = ensemble
    assert Config.model_validate(settings).student.turns == turns
    assert make_config("fast", {"student": {"ensemble": ensemble}}).student.turns == turns


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"smoke.*cpu.*paper"):
        make_config("huge")


def test_a_preset_that_the_settings_name_is_the_one_that_is_taken() -> None:
    assert make_config(None, {"preset": "paper", "seed": 3}) == make_config("paper", {"seed": 3})
    assert make_config("paper", {"preset": "paper"}) == make_config("paper")
    assert make_config() == make_config(None, {}) == PRESETS["cpu"]
    with pytest.raises(ConfigError, match="to be fast, but the settings name 'cpu'"):
        make_config("fast", {"preset": "cpu"})
    for unknown in ("huge", 3, ["cpu"]):
        with pytest.raises(ConfigError, match="no preset"):
            make_config(None, {"preset": unknown})


@pytest.mark.parametrize("level", [{"sigma": 0.1}, {"counts": 200}])
def test_a_level_that_is_given_is_not_evened_out(level: dict) -> None:
    with pytest.raises(ConfigError, match="stabilise: evens out the noise as it is measured"):
        make_config("cpu", {"stabilise": True, **level})
    old = Config.model_validate({**make_config("cpu", level).model_dump(), "stabilise": True})  # of an old model file
    assert not old.evens_out
    assert make_config("cpu", {"stabilise": True}).evens_out


def test_grain_is_stored_only_where_it_is_not_what_it_was_before_it_was_a_setting() -> None:
    assert "grain" not in PRESETS["fast"].model_dump()
    kept = make_config("fast", {"grain": "keep"})
    assert Config.model_validate(kept.model_dump(mode="json")) == kept


def test_pooling_is_stored_only_where_it_is_not_what_it_was_before_it_was_a_setting() -> None:
    """So that keys of artefacts and fingerprints of models stay what they were."""
    for mode in ("python", "json"):
        assert "pooling" not in PRESETS["paper"].model_dump(mode=mode)["blind_spot"]
        published = make_config("paper", {"blind_spot": {"pooling": "global"}})
        assert published.model_dump(mode=mode)["blind_spot"]["pooling"] == "global"
    assert Config.model_validate_json(published.model_dump_json()) == published != PRESETS["paper"]
    assert PRESETS["paper"].blind_spot.is_blind
    assert not published.blind_spot.is_blind


def test_settings_from_a_toml_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[student]\nsteps = 5\n")
    assert make_config("cpu", read_overrides(file)).student.steps == 5
    file.write_text("[student\n")
    with pytest.raises(ConfigError, match=r"settings\.toml: not a readable.*Settings are lines such as"):
        read_overrides(file)


def test_the_paper_preset_keeps_the_published_pipeline() -> None:
    paper = PRESETS["paper"]
    assert (paper.diffusion.leak, paper.diffusion.target, paper.diffusion.prediction) == ("open", "image", "eps")
    assert not paper.teacher.fuse
    assert paper.teacher.steps == 10


@pytest.mark.parametrize("sampler", ["auto", "student", "ensemble", "second_opinion"])
def test_a_fit_for_a_second_opinion_asks_for_it_whatever_it_takes(sampler: str) -> None:
    config = make_config("fast")
    expected = {"second_opinion": True} if sampler == "second_opinion" else {}
    assert for_sampler(config, sampler, False) == make_config("fast", {"student": expected})


def test_what_a_preset_has_is_not_taken_for_what_is_set() -> None:
    """The others' students have a loss, a recorruption, and so many frames together, too."""
    alone = {"learns_from": "recorrupted"}
    for settings in ({}, {"recorruption": 0.5, "together": 4}, {"loss": "l2"}):
        assert make_config("fast", {"student": settings}).student.loss == settings.get("loss", "l1")
        assert make_config("paper", {"student": {**alone, "loss": "l2", **settings}}).student.loss == "l2"


def test_fast_has_no_teacher_to_learn_from() -> None:
    with pytest.raises(ConfigError, match="preset cpu"):
        make_config("fast", {"student": {"learns_from": "teacher"}})
