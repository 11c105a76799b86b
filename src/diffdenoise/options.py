"""The options that several commands share, and what is said of a command line that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import CycloptsError, MissingArgumentError, Parameter
from cyclopts.validators import Number

EXAMPLES = {
    "run": "diffdenoise run SCANS -o OUT",
    "fit": "diffdenoise fit SCANS -o RUN",
    "denoise": "diffdenoise denoise SCANS --model RUN -o OUT",
    "evaluate": "diffdenoise evaluate OUT --reference CLEAN",
    "info": "diffdenoise info SCAN",
    "demo": "diffdenoise demo -o OUT",
    "clean": "diffdenoise clean OUT",
    "serve": "diffdenoise serve --model RUN --forward TITLE@host:port",
}

Scans = Annotated[list[Path], Parameter(help="Files, folders (with all below) or patterns.", negative=())]
Out = Annotated[Path, Parameter(name=["--output", "-o"], help="Folder for the results.")]
Preset = Annotated[
    Literal["smoke", "fast", "cpu", "gpu", "paper"] | None,
    Parameter(
        help="What is trained, and how large. fast: the student alone. cpu, gpu: the method's three stages. paper: as "
        "published. smoke: for trying out. If not given: fast, or cpu or gpu where samples are asked for."
    ),
]
Budget = Annotated[
    str | None, Parameter(help="Time for the whole fit, such as 90s, 10m or 1h30m, instead of the preset's steps.")
]
Sigma = Annotated[
    float | None,
    Parameter(help="Noise standard deviation in the scans' units; estimated if not given.", validator=Number(gt=0)),
]
Counts = Annotated[
    float | None,
    Parameter(
        help="Counting noise, so many counts to a unit of the scans: 1 for images of counts. Estimated if not.",
        validator=Number(gt=0),
    ),
]
FitSeed = Annotated[
    int | None, Parameter(name="--seed", help="Seed of everything random; 0 if not given.", validator=Number(gte=0))
]
Seed = Annotated[int, Parameter(help="Seed of everything random.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Parameter(help="Where to compute.")]
ConfigFile = Annotated[
    Path | None, Parameter(name="--config", help="TOML file with settings that replace the preset's.")
]
SamplerChoice = Annotated[
    Literal["auto", "student", "ensemble", "second_opinion", "srds"],
    Parameter(
        help="student: one fast pass. ensemble: the mean of its passes over the eight ways to turn and mirror a slice; "
        "slower, and a little better. second_opinion: with as much of what collaborative filtering makes of it as the "
        "scan, or those of the fit, bear out. auto: of these what takes little time beside the training, over fewer "
        "turns (2 or 4) where eight take too long. srds: sample symmetric pairs and fuse; slow."
    ),
]
Spread = Annotated[bool, Parameter(negative=(), help="Also write the spread of the sampled pairs; not the error.")]
Strength = Annotated[
    float,
    Parameter(help="Share of the removed noise that is removed indeed, above 0, to 1; less leaves some of it in."),
]
Uncertainty = Annotated[bool, Parameter(negative=(), help="Also write the result's expected error, pixel by pixel.")]
Removed = Annotated[bool, Parameter(negative=(), help="Also write the removed noise: noisy minus denoised.")]


def in_words(error: CycloptsError) -> str:
    """What is wrong with a command line; where something is missing, what that is, and an example."""
    command, argument = " ".join(error.command_chain or ()), error.argument
    if not isinstance(error, MissingArgumentError) or argument is None or command not in EXAMPLES:
        return str(error)
    given = error.keyword or next((token.keyword for token in argument.tokens if token.keyword), None)
    name = " or ".join(argument.names) if argument.index is None else argument.name.lstrip("-").upper()
    fault = f"{given} needs a value" if given else f"{name} is missing"
    return f"{command}: {fault}. {argument.parameter.help} For example: {EXAMPLES[command]}"
