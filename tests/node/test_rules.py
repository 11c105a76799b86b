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
        ("[[rule]]\nstrenght = 0.5", ["rules.toml", "rule 1, strenght", "[[rule]]"]),
        ("[[rule]]\n[[rule]]\nstrength = 1.5", ["rules.toml", "rule 2, strength", "less than or equal to 1"]),
        ('[[rule]]\nsampler = "magic"', ["rule 1, sampler", "student"]),
        ('[[rule]]\nmodel = "none.safetensors"', ["rule 1", "no model file", "none.safetensors", "diffdenoise fit"]),
        ("rule = 3", ["rules.toml", "rule"]),
        ("[[rule", ["rules.toml", "TOML"]),
        ("", ["rules.toml", "holds no rule", "[[rule]]"]),
    ],
)
def test_mistakes_name_file_key_and_remedy(models: Path, text: str, said: list[str]) -> None:
    (models / "rules.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_rules(models / "rules.toml", models / "mr.safetensors")
    for word in said:
        assert word in str(error.value)


def test_a_model_that_is_not_there_is_refused_before_anything_starts(models: Path) -> None:
    with pytest.raises(ConfigError, match="--model"):
        load_rules(None, None)
    with pytest.raises(DiffdenoiseError, match="nothing"):
        load_rules(None, models / "nothing")
    with pytest.raises(ConfigError, match="rule 3: name one"):
        load_rules(models / "rules.toml", None)
    with pytest.raises(ConfigError, match="not a readable"):
        load_rules(models / "absent.toml", models / "mr.safetensors")


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
