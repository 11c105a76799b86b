"""Which series are denoised, with which model and how strongly: rules from a TOML file, the first that matches wins."""

from __future__ import annotations

import hashlib
import json
import logging
import tomllib
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffdenoise import __version__
from diffdenoise.config import NEAR
from diffdenoise.errors import ConfigError, RunError, reason_of
from diffdenoise.run_folder import find_model
from diffdenoise.scans.sidecar import sha256

log = logging.getLogger("diffdenoise")
_EXAMPLE = 'A rule is a line [[rule]] and lines such as: modality = "CT", and: strength = 0.8'
# of each key of a rule
_ALLOWED = {
    "modality": 'one, in capitals and quotes as in the images: such as "MR"',
    "description": 'text in quotes, such as "*lung*"',
    "model": 'the path of a model file or run folder, in quotes, such as "models/ct.safetensors"',
    "strength": "a number from 0 to 1",
    "sampler": 'one of "auto", "student", "ensemble", "second_opinion" and "srds"',
}


class Rule(BaseModel):
    """One rule. What is not given matches everything.

    modality: exactly as in the images, such as "MR". description: a glob such as "*lung*" for the series description,
    in which capitals do not matter. model: None takes the node's. strength: in [0, 1]; 0 leaves such series alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    modality: str | None = Field(default=None, pattern="^[A-Z0-9_]*$")
    description: str = "*"
    model: str | None = None
    strength: float = Field(default=1.0, ge=0, le=1)
    sampler: Literal["auto", "student", "ensemble", "second_opinion", "srds"] = "auto"

    def matches(self, modality: str, description: str) -> bool:
        """Whether it is for a series of this modality and description."""
        asked = self.description.lower()
        return self.modality in (None, modality) and fnmatchcase(description.lower(), asked)


class Rules(BaseModel):
    """The rules in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rule: tuple[Rule, ...] = Field(default=(Rule(),), strict=False)

    def choose(self, modality: str, description: str) -> Rule | None:
        """The first rule for such a series that denoises it, or None where none does."""
        chosen = next((rule for rule in self.rule if rule.matches(modality, description)), None)
        return chosen if chosen and chosen.strength else None

    def models(self) -> list[Path]:
        """The model files that are needed, each once."""
        return sorted({Path(rule.model) for rule in self.rule if rule.model and rule.strength})

    def digest(self) -> str:
        """Hash of all that decides results: the rules, the content of the models and the version."""
        models = [sha256(path) for path in self.models()]
        return hashlib.sha256(repr((__version__, self.model_dump_json(), models)).encode()).hexdigest()


def load_rules(file: Path | None, model: Path | None) -> Rules:
    """The rules in the file, or one for everything where there is none; every model's path found and made absolute.

    model: for rules that name none. Paths in the file are relative to it. Raises ConfigError or ModelError.
    """
    rules = _read(file) if file else Rules()
    folder = file.parent if file else Path()
    default = model and _found(model, "--model")
    resolved = []
    for number, rule in enumerate(rules.rule, 1):
        where = f"{file}: rule {number}"
        path = _found(folder / rule.model, f"{where}, model") if rule.model else default
        if path is None and rule.strength:
            raise ConfigError(f"{where if file else 'No model'}: name one, in the rule (model = ...) or with --model.")
        if rule.modality is None and set(rule.description) == {"*"} and number < len(rules.rule):
            log.warning("%s is for every series, so those after it are never asked. Put it last.", where)
        resolved.append(rule.model_copy(update={"model": str(path) if path else None}))
    return Rules(rule=tuple(resolved))


def _read(file: Path) -> Rules:
    try:
        rules = Rules.model_validate({"rule": [], **tomllib.loads(file.read_text(encoding="utf-8-sig"))})
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: there is no such file of rules. Check its name.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: not a readable TOML file ({error}). {_EXAMPLE}") from error
    except ValidationError as error:
        faults = dict.fromkeys(map(_in_words, error.errors()))
        raise ConfigError(f"{file}: {'; '.join(faults)}.") from error
    if not rules.rule:
        raise ConfigError(f"{file}: holds no rule, so nothing would be denoised. {_EXAMPLE}")
    return rules


def _in_words(fault: Any) -> str:
    """One of pydantic's complaints: which rule, which key, what is wrong and what is allowed."""
    match fault["loc"]:
        case ("rule", int(number), str(key)) if key in _ALLOWED:
            given = json.dumps(fault["input"], ensure_ascii=False, default=str)  # about as it stands in the file
            return f"rule {number + 1}, {key}: has to be {_ALLOWED[key]}, not {given}"
        case ("rule", int(number), str(key)):
            near = get_close_matches(key, _ALLOWED, 1, NEAR)
            meant = f" (did you mean {near[0]}?)" if near else f"; there are {', '.join(_ALLOWED)}"
            return f"rule {number + 1}, {key}: there is no such key{meant}"
        case (str(key), *_) if key in _ALLOWED:
            return f"{key}: stands outside of a rule; write a line [[rule]] above it"
        case (str(key), *_) if key != "rule":
            return f"{key}: there is no such table; each rule begins with a line [[rule]]"
    return "rule: each begins with a line [[rule]], with two brackets"


def _found(path: Path, where: str) -> Path:
    try:
        model = find_model(path.expanduser())
        if model.is_file():
            model.open("rb").close()
            return model.resolve()
    except RunError as error:
        raise ConfigError(f"{where}: {error}") from error
    except OSError as error:
        fault = f"{error.filename} cannot be read ({reason_of(error)})"
        raise ConfigError(f"{where}: {fault}. Give the user of the node a copy that it can read.") from error
    raise ConfigError(f"{where}: there is no model file {path}. Make one with: diffdenoise fit SCANS -o RUN")
