import errno
from pathlib import Path

import pytest

from diffdenoise.errors import ConfigError, DiffdenoiseError
from diffdenoise.node.rules import Rule, Rules, load_rules

FILE = """
[[rule]]
modality = "CT"
description = "*scout*"
strength = 0

[[rule]]
modality = "CT"
model = "ct.safetensors"
strength = 0.6

[[rule]]
modality = "MR"
description = "*T1*"
sampler = "ensemble"
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("ct", "mr"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    (tmp_path / "rules.toml").write_text(FILE)
    return tmp_path


def test_the_first_rule_that_matches_wins(models: Path) -> None:
    rules = load_rules(models / "rules.toml", models / "mr.safetensors")
    chosen = {
        (modality, description): rules.choose(modality, description)
        for modality in ("CT", "MR", "US")
        for description in ("Lung", "ct SCOUT 1", "brain t1 mprage", "")
    }
    assert {key for key, rule in chosen.items() if rule} == {
        ("CT", "Lung"), ("CT", "brain t1 mprage"), ("CT", ""), ("MR", "brain t1 mprage"),
    }  # fmt: skip
    lung, brain = chosen["CT", "Lung"], chosen["MR", "brain t1 mprage"]
    assert lung is not None and brain is not None
    assert (lung.strength, lung.model) == (0.6, str(models / "ct.safetensors"))
    assert (brain.sampler, brain.strength, brain.model) == ("ensemble", 1, str(models / "mr.safetensors"))


def test_without_a_file_everything_is_denoised_with_the_model(models: Path) -> None:
    rule = load_rules(None, models / "mr.safetensors").choose("XA", "whatever")
    assert rule == Rule(model=str(models / "mr.safetensors"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[rule]]\nstrenght = 0.5", ["rule 1, strenght: there is no such key (did you mean strength?)"]),
        ("[[rule]]\nkind = 3", ["rule 1, kind: there is no such key; there are modality, description, model,"]),
        ("[[rule]]\n[[rule]]\nstrength = 1.5", ["rule 2, strength: has to be a number from 0 to 1, not 1.5."]),
        ('[[rule]]\nstrength = "half"', ['rule 1, strength: has to be a number from 0 to 1, not "half".']),
        ("[[rule]]\nstrength = true\nfoo = 1", ["strength: has to be", "not true; rule 1, foo: there is no such key"]),
        ('[[rule]]\nsampler = "magic"', ['rule 1, sampler: has to be one of "auto", "student"', 'not "magic"']),
        ('[[rule]]\nmodality = "ct"', ["rule 1, modality: has to be one, in capitals", 'not "ct"']),
        ('[[rule]]\nmodality = ["CT", "MR"]', ["rule 1, modality: has to be one", 'not ["CT", "MR"]']),
        ("[[rule]]\nmodel = 3", ["rule 1, model: has to be the path", "not 3"]),
        ('[[rule]]\nmodel = "none.safetensors"', ["rule 1, model: there is no model file", "diffdenoise fit"]),
        ('[[rule]]\nmodel = "."', ["rules.toml: rule 1, model: ", "there is no diffdenoise run"]),
        ("rule = 3", ["rule: each begins with a line [[rule]], with two brackets"]),
        ("rule = [3]", ["rule: each begins with a line [[rule]], with two brackets"]),
        ("[rule]\nstrength = 1", ["rule: each begins with a line [[rule]], with two brackets"]),
        ("[[rules]]\nstrength = 1", ["rules: there is no such table; each rule begins with a line [[rule]]"]),
        ("strength = 1", ["strength: stands outside of a rule; write a line [[rule]] above it"]),
        ("[[rule", ["rules.toml", "TOML"]),
        ("", ["rules.toml", "holds no rule", "[[rule]]"]),
    ],
)
def test_mistakes_name_file_key_and_remedy(models: Path, text: str, said: list[str]) -> None:
    (models / "rules.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_rules(models / "rules.toml", models / "mr.safetensors")
    for word in ["rules.toml: ", *said]:
        assert word in str(error.value)
    assert "Input" not in str(error.value)


def test_a_file_that_windows_saved_is_read(models: Path) -> None:
    (models / "rules.toml").write_text("[[rule]]\nstrength = 0.5", encoding="utf-8-sig")
    assert load_rules(models / "rules.toml", models / "mr.safetensors").rule[0].strength == 0.5


def test_a_rule_for_everything_that_hides_others_is_warned_of(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    for text, warned in (("[[rule]]\n" + FILE, True), (FILE + "[[rule]]\n", False)):
        (models / "rules.toml").write_text(text)
        caplog.clear()
        load_rules(models / "rules.toml", models / "mr.safetensors")
        assert ("rule 1 is for every series" in caplog.text) == warned


def test_a_model_that_is_not_there_is_refused_before_anything_starts(models: Path) -> None:
    with pytest.raises(ConfigError, match="--model"):
        load_rules(None, None)
    with pytest.raises(DiffdenoiseError, match="nothing"):
        load_rules(None, models / "nothing")
    with pytest.raises(ConfigError, match="rule 3: name one"):
        load_rules(models / "rules.toml", None)
    with pytest.raises(ConfigError, match="no such file"):
        load_rules(models / "absent.toml", models / "mr.safetensors")


def test_a_model_that_may_not_be_read_is_told_before_anything_starts(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ConfigError, match=r"--model: .*mr\.safetensors cannot be read \(Permission denied\)"):
        load_rules(None, models / "mr.safetensors")


def test_the_digest_changes_with_whatever_changes_a_result(models: Path) -> None:
    def digest() -> str:
        return load_rules(models / "rules.toml", models / "mr.safetensors").digest()

    seen = {digest()}
    assert digest() in seen
    (models / "ct.safetensors").write_bytes(b"another")
    seen.add(digest())
    (models / "rules.toml").write_text(FILE.replace("0.6", "0.7"))
    seen.add(digest())
    assert len(seen) == 3
    assert Rules().rule == (Rule(),)
