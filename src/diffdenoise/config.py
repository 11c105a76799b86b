"""All settings of a fit, frozen."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from diffdenoise.errors import ConfigError

Sizes = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Loss = Literal["l1", "l2"]
Pooling = Literal["parity", "global"]
BlindNetwork = Literal["patch_blind", "puca", "half_plane", "local_global"]
Leak = Literal["open", "damped", "masked", "redrawn"]
_EXAMPLE = "Settings are lines such as: sigma = 25, and below a line [student]: steps = 2000"
# Of the commands, as cli.py has them, that are sometimes taken for settings.
OPTIONS = ("output", "model", "config", "budget", "device", "sampler", "strength", "uncertainty", "spread", "removed")
KINDS = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text in quotes"}
BOUNDS = {"exclusiveMinimum": "above", "minimum": "of at least", "exclusiveMaximum": "below", "maximum": "of at most"}
LONGEST = 60  # characters of what was given
NEAR = 0.7  # of difflib's likeness; names less alike are others
Feedback = Literal["student", "x_hat", "fused"]


class Settings(BaseModel):
    """Frozen, and an unknown key is an error rather than a silent typo."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StageSettings(Settings):
    """What the three trainings share: optimiser steps, crops per step, crop side in pixels, peak learning rate."""

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    crop: int = Field(ge=16)
    learning_rate: float = Field(gt=0)


class BlindSpotSettings(StageSettings):
    """Stage 1. patch: side of the hidden patch in pixels, 1 for noise that is independent between pixels.

    None chooses the smallest patch that hides all noise correlated with its centre, by the estimated reach; a network
    that hides one pixel only ("puca") then gives way to "local_global", as in the paper. widths, blocks: channels and
    blocks of each level, one number of blocks for all levels or one for each. loss: None takes L1 for noise that looks
    symmetric and L2 otherwise, for L1 targets the median. pooling: of the channel attention of "puca": over pixels of
    equal parity, or "global" as published, which is not blind (`networks.puca`).
    """

    network: BlindNetwork = "patch_blind"
    patch: int | None = Field(default=None, ge=1)
    widths: Sizes = (32, 64)
    blocks: PositiveInt | Sizes = 1
    loss: Loss | None = "l2"
    pooling: Pooling = "parity"

    @model_validator(mode="after")
    def _possible(self) -> BlindSpotSettings:
        if self.patch is not None and self.patch % 2 == 0:
            raise ValueError(f"patch must be odd, it has a centre; {self.patch} is even")
        if self.network == "puca" and (self.patch or 1) > 1:
            raise ValueError('"puca" hides one pixel only; take network = "local_global" for a larger patch')
        if self.network in ("puca", "local_global") and any(width % 4 for width in self.widths):
            raise ValueError(f"widths of {self.network} must be multiples of 4, for 2x2 pixels go into its channels")
        if isinstance(self.blocks, tuple) and len(self.blocks) != len(self.widths):
            raise ValueError(f"blocks {self.blocks} and widths {self.widths} need one entry for each level")
        return self

    @property
    def is_blind(self) -> bool:
        """Whether a pixel of x_c knows nothing of the noisy pixel itself."""
        return self.network != "puca" or self.pooling == "parity"

    @model_serializer(mode="wrap")
    def _stored(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a pooling that is as it was before it was a setting: keys and fingerprints stay what they were."""
        values: dict[str, Any] = whole(self)
        if self.pooling == "parity":
            values.pop("pooling", None)
        return values


class DiffusionSettings(StageSettings):
    """Stage 2.

    leak: "open" is the published training; "damped", "masked" and "redrawn" cure the condition leak (see
    `diffusion.leak`). hidden_share: of the pixels, hidden at a step by the last two; damping: noise that "damped" adds
    to the condition, in units of the noise. target: what the chain samples, the noisy image or its difference from
    the condition. ema: decay of the average of the weights that is kept, at most 1 - 10 / steps.
    """

    network: Literal["convolutional", "improved_ddpm"] = "convolutional"
    widths: Sizes = (32, 64)
    blocks: PositiveInt = 1
    schedule: Literal["cosine", "linear"] = "cosine"
    timesteps: int = Field(default=1000, gt=0, le=100_000)
    prediction: Literal["eps", "v", "x0"] = "v"
    loss: Loss = "l2"
    leak: Leak = "redrawn"
    hidden_share: float = Field(default=0.1, gt=0, le=0.5)
    damping: float = Field(default=0.5, gt=0)
    target: Literal["image", "residual"] = "residual"
    ema: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _possible(self) -> DiffusionSettings:
        if self.network == "improved_ddpm" and any(width % 32 for width in self.widths):
            raise ValueError(f'"improved_ddpm" needs widths that are multiples of 32, not {self.widths}')
        return self


class TeacherSettings(Settings):
    """The image the student learns from: SRDS with `steps` DDIM steps and `pairs` symmetric pairs, then fusion.

    bound_level: hold the noise level down to what the blind-spot network leaves unpredicted, before fusing.
    slices: at most so many slices are sampled, evenly spread (None: all of them).
    """

    steps: int = Field(default=10, gt=0)
    pairs: int = Field(default=1, gt=0)
    fuse: bool = True
    bound_level: bool = False
    slices: int | None = Field(default=None, gt=0)


class StudentSettings(StageSettings):
    """Stage 3: a U-Net, width its channels at full resolution; encoder, middle, decoder: its blocks per level.

    network: NAFNet, the paper's, or DRUNet, which a CPU computes faster. learns_from: the teacher's images, by `loss`;
    or the noisy images themselves, recorrupted, by L2, without any teacher: stages 1 and 2 are left out then, and there
    is nothing to sample from. recorruption: its alpha; None: larger where scans are few (`recorrupted.alpha_for`).
    visits: of a pixel by crops, at most so many on the mean: fewer steps are taken then; None: all.
    neighbours: so many slices on each side are seen, too, where there is no teacher; None: one, if most scans are
    volumes whose slices look alike and have noise of their own (those that share noise are seen alone), and no series.
    When they are used, scans whose slices share noise are seen alone, whatever is set.
    series: where a scan is a series of frames that look alike and have noise of their own, its principal components are
    denoised, if there is no teacher; None: if a scan of the fit is one. together: of a series at most so many frames,
    longer ones in parts; 0: all; None: twice as many as the longest that was fitted on, whose components are as bright
    as what the student has met. turns: a result is the mean of the student's passes over so many of the eight ways to
    turn and mirror a slice; None: as many as take little time beside the training. second_opinion: of what
    collaborative filtering makes of it so much is mixed in as a scan, or those of the fit, bear out; None: where that
    takes little time, too, and no grain is kept. start: the weights before the first step, random or those that ship
    with this package, of the preset fast's network, which learned from synthetic images.
    """

    network: Literal["nafnet", "drunet"] = "nafnet"
    width: PositiveInt = 16
    encoder: Sizes = (1, 1)
    middle: PositiveInt = 1
    decoder: Sizes = (1, 1)
    loss: Loss = "l1"
    learns_from: Literal["teacher", "recorrupted"] = "teacher"
    recorruption: float | None = Field(default=None, gt=0)
    visits: float | None = Field(default=None, gt=0)
    neighbours: int | None = Field(default=0, ge=0)
    series: bool | None = False
    together: int | None = Field(default=None, ge=0)
    turns: Literal[1, 2, 4, 8] | None = 1
    second_opinion: bool | None = False
    start: Literal["random", "synthetic"] = "random"

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, given: Any) -> Any:
        """In model files of before December 2026 `ensemble` says whether all eight turns are asked."""
        if not (isinstance(given, dict) and isinstance(given.get("ensemble", ""), bool | None)):
            return given
        others = {name: value for name, value in given.items() if name != "ensemble"}
        return {**others, "turns": {None: None, False: 1, True: 8}[given["ensemble"]]}

    @model_validator(mode="after")
    def _possible(self) -> StudentSettings:
        if len(self.encoder) != len(self.decoder):
            raise ValueError(
                f"encoder and decoder need equally many levels, not {len(self.encoder)} and {len(self.decoder)}"
            )
        if self.neighbours and self.learns_from == "teacher":
            raise ValueError('neighbours are seen with learns_from = "recorrupted" alone; set neighbours = 0')
        if self.series and self.learns_from == "teacher":
            raise ValueError('series are seen with learns_from = "recorrupted" alone; set series = false')
        return self


class Config(Settings):
    """A whole fit.

    normalisation: "noise" brings each scan's noise to the same strength, "scan" each scan to its own range, "fixed" all
    to a common one; "auto" takes "fixed" where all scans are in HU, or all in 8-bit grey, and else "noise". sigma:
    noise standard deviation in the scans' units, None to estimate it from each scan. counts: says that it is counting
    noise, so many counts to a unit of the scans (variance = value / counts). stabilise: even out a measured noise level
    that depends on brightness before training, and undo that after it. grain: white noise that is found beside
    correlated noise, a detector's own; removed with it, or kept as if the object had it. noise_floor: what Rician noise
    adds to the dark; "auto" takes it off the results where the noise is found to be Rician, by the sigma that each
    scan's own background shows. rounds: times that diffusion, teacher and student are trained; from the second on the
    condition is the round before's `feedback`: its student's image, its x_hat or its fused image.
    """

    preset: str
    seed: int = Field(default=0, ge=0, lt=2**62)
    normalisation: Literal["auto", "noise", "scan", "fixed"] = "auto"
    sigma: float | None = Field(default=None, gt=0)
    counts: float | None = Field(default=None, gt=0)
    stabilise: bool = False
    grain: Literal["remove", "keep"] = "remove"
    noise_floor: Literal["auto", "remove", "keep"] = "auto"
    rounds: int = Field(default=1, ge=1)
    feedback: Feedback = "student"
    blind_spot: BlindSpotSettings
    diffusion: DiffusionSettings
    teacher: TeacherSettings
    student: StudentSettings

    @property
    def has_teacher(self) -> bool:
        """Whether stages 1 and 2 are trained, so that their diffusion model can be sampled."""
        return self.student.learns_from == "teacher"

    @property
    def level_given(self) -> bool:
        """Whether the user has told how strong the noise is."""
        return self.sigma is not None or self.counts is not None

    @property
    def evens_out(self) -> bool:
        """Whether the level is evened out indeed: old models may ask for it where it is given, and it was not then."""
        return self.stabilise and not self.level_given

    @model_serializer(mode="wrap")
    def _stored(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a setting that is as it was before it was one: keys and fingerprints stay what they were."""
        values: dict[str, Any] = whole(self)
        if self.grain == "remove":
            values.pop("grain", None)
        return values

    @model_validator(mode="after")
    def _possible(self) -> Config:
        if self.sigma is not None and self.counts is not None:
            raise ValueError("sigma and counts both say how strong the noise is; give one of them")
        if self.rounds > 1 and not self.has_teacher:
            raise ValueError('rounds repeat the teacher; with learns_from = "recorrupted" there is none')
        if self.teacher.steps > self.diffusion.timesteps:
            raise ValueError(f"teacher.steps {self.teacher.steps} is more than diffusion.timesteps has")
        return self


def require_strength(strength: float) -> None:
    """Raises ConfigError unless it is a share of the removed noise, above 0 and at most 1."""
    if not 0 < strength <= 1:
        raise ConfigError(f"strength is more than 0 and at most 1, not {strength:g}.")


def require_teacher(config: Config) -> None:
    """Raises ConfigError if there is no diffusion model to sample from with this config."""
    if not config.has_teacher:
        raise ConfigError(
            f"With the preset {config.preset} the student learns from the noisy images alone: there is no diffusion "
            "model to sample. Leave out srds and spread, or fit with another preset, such as cpu."
        )


def for_sampler(config: Config, sampler: str, sampled: bool) -> Config:
    """The config of a fit that is to serve a sampler. Raises ConfigError if it cannot, told before its training.

    sampled: the diffusion model is needed.
    """
    if sampled:
        require_teacher(config)
    if sampler != "second_opinion":
        return config
    if config.student.second_opinion is False:
        raise ConfigError(
            f"With the preset {config.preset} no second opinion is asked for. Leave out --sampler second_opinion, take "
            "the preset fast, or set second_opinion = true under [student] with --config."
        )
    return config.model_copy(update={"student": config.student.model_copy(update={"second_opinion": True})})


def read_overrides(path: Path) -> dict[str, Any]:
    """Settings from a TOML file with the names of `Config`. Raises ConfigError if it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file of settings. Check its name.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({error}). {_EXAMPLE}") from error


def config_from(values: dict[str, Any]) -> Config:
    """A config from nested plain values. Raises ConfigError that names every fault, what was given, what is allowed."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        faults = dict.fromkeys(_in_words(fault, values) for fault in error.errors())
        raise ConfigError(f"These settings make no sense: {'; '.join(faults)}.") from error


def _in_words(fault: Any, values: dict[str, Any]) -> str:
    """One of pydantic's complaints about these values; the same for each that it has about one setting."""
    place = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"{place}: {_unknown(place)}"
    path, allowed = _setting_at(fault["loc"])
    if fault["type"] == "value_error" or not path:  # one of this module's own, or about the whole
        return ": ".join(part for part in (place, fault["msg"].removeprefix("Value error, ")) if part)
    given: Any = values
    for name in path:
        given = given.get(name)
    return f"{'.'.join(path)} = {json.dumps(given, default=str)[:LONGEST]} (allowed: {allowed})"


def _unknown(place: str) -> str:
    """What is to be said of a name that no setting has."""
    if (name := place.rpartition(".")[2]) in OPTIONS:
        return f"is no setting, but the option --{name} of the command"
    near = _called_alike(place)
    return "there is no such setting" + (f" (did you mean {near}?)" if near else "")


def _setting_at(location: Sequence[str | int]) -> tuple[list[str], str]:
    """The path of the setting that a place is in, or is, and in words what it may be."""
    whole = Config.model_json_schema()
    path, here = list[str](), whole
    for name in location:
        if name not in here.get("properties", {}):  # inside a list, or one of several kinds
            break
        path, here = [*path, str(name)], here["properties"][name]
        here = whole["$defs"][here["$ref"].rpartition("/")[2]] if "$ref" in here else here
    return path, f"settings below a line [{'.'.join(path)}]" if "properties" in here else _allowed(here)


def _allowed(schema: dict[str, Any]) -> str:
    """What a JSON schema of a single setting lets through."""
    if "anyOf" in schema:
        return " or ".join(_allowed(one) for one in schema["anyOf"] if one.get("type") != "null")
    if one_of := schema.get("enum"):
        return " or ".join(map(json.dumps, one_of))
    if schema["type"] == "array":
        return f"a list such as [16, 32], each {_allowed(schema['items'])}"
    bounds = (f" {words} {schema[key]:g}" for key, words in BOUNDS.items() if key in schema)
    return KINDS[schema["type"]] + " and".join(bounds)


def _called_alike(place: str) -> str:
    """The settings that may have been meant, wherever they stand; empty where none is called like this."""
    leaf = lambda name: name.rpartition(".")[2]  # noqa: E731
    known = list(_names(Config))
    nearest = get_close_matches(leaf(place), map(leaf, known), 1, NEAR)
    return " or ".join(name for name in known if leaf(name) in nearest)


def _names(settings: type[BaseModel], within: str = "") -> Iterator[str]:
    """Of all settings, those of sections as section.name."""
    for name, field in settings.model_fields.items():
        yield f"{within}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{within}{name}.")
