"""The commands. No logic of their own, and no heavy import before a command runs: `--help` answers at once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from diffdenoise import __version__
from diffdenoise.errors import ConfigError, DiffdenoiseError, ScanError, is_memory_error
from diffdenoise.text import printable

if TYPE_CHECKING:
    from diffdenoise.batch import Outcome, Wanted
    from diffdenoise.denoiser import Denoiser
    from diffdenoise.scans.files import Found

app = App(
    name="diffdenoise",
    version=__version__,
    help="Denoise medical images without a single clean one. Research use only, not a medical device.",
    help_format="rich",
    suppress_keyboard_interrupt=False,  # main says what Ctrl-C means
)

Scans = Annotated[list[Path], Parameter(help="Files, folders (with all below) or patterns.", negative=())]
Out = Annotated[Path, Parameter(name=["--output", "-o"], help="Folder for the results.")]
Preset = Annotated[
    Literal["smoke", "fast", "cpu", "gpu", "paper"] | None,
    Parameter(
        help="What is trained, and how large. fast: the student alone. cpu, gpu: the method's three stages. paper: as "
        "published. smoke: for trying out. Chosen by the hardware if not given."
    ),
]
Budget = Annotated[
    str | None, Parameter(help="Time for the whole fit, such as 10m or 1h30m, instead of the preset's steps.")
]
Sigma = Annotated[float | None, Parameter(help="Noise standard deviation in the scans' units; estimated if not given.")]
Seed = Annotated[int, Parameter(help="Seed of everything random.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Parameter(help="Where to compute.")]
ConfigFile = Annotated[
    Path | None, Parameter(name="--config", help="TOML file with settings that replace the preset's.")
]
SamplerChoice = Annotated[
    Literal["student", "ensemble", "srds"],
    Parameter(
        help="student: one fast pass. ensemble: the mean of its passes over the eight ways to turn and mirror a slice; "
        "eight times slower, and a little better. srds: sample symmetric pairs and fuse; slow."
    ),
]
Spread = Annotated[
    bool,
    Parameter(negative=(), help="Also write the spread of the sampled pairs (what the sampler varies, not the error)."),
]
Removed = Annotated[bool, Parameter(negative=(), help="Also write the removed noise: noisy minus denoised.")]


@app.command
def run(
    scans: Scans,
    *,
    output: Out,
    preset: Preset = None,
    budget: Budget = None,
    sigma: Sigma = None,
    sampler: SamplerChoice = "student",
    spread: Spread = False,
    removed: Removed = False,
    seed: Seed = 0,
    device: Device = "auto",
    config: ConfigFile = None,
) -> int:
    """Fit on these scans and denoise them: what most people want.

    The fit is kept in OUTPUT/.diffdenoise; the same command again goes on where it was stopped.
    """
    from diffdenoise.batch import Wanted, blocked

    found, errors = _find(scans, output)
    wanted = Wanted(sampler, seed, spread, removed)
    if problems := blocked(found, output, wanted):
        return _report_failures(list(map(str, problems)))
    denoiser = _fit(found, output / ".diffdenoise", preset, budget, sigma, seed, device, config, wanted.sampled)
    _say(f"Model: {output / '.diffdenoise'} (use it again with: diffdenoise denoise ... --model {output})")
    return _denoise(denoiser, found, errors, output, wanted)


@app.command
def fit(
    scans: Scans,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Run folder; it will hold the model.")],
    preset: Preset = None,
    budget: Budget = None,
    sigma: Sigma = None,
    seed: Seed = 0,
    device: Device = "auto",
    config: ConfigFile = None,
) -> int:
    """Train a model on noisy scans alone. The same command again goes on where it was stopped."""
    found, errors = _find(scans, output)
    denoiser = _fit(found, output, preset, budget, sigma, seed, device, config)
    _say(f"Model: {output / 'model.safetensors'}")
    return _report_failures([*map(str, errors), *denoiser.skipped])


@app.command
def denoise(
    scans: Scans,
    *,
    model: Annotated[Path, Parameter(help="Model file, run folder, or output folder of `diffdenoise run`.")],
    output: Out,
    sampler: SamplerChoice = "student",
    spread: Spread = False,
    removed: Removed = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> int:
    """Denoise scans with a trained model."""
    from diffdenoise.batch import Wanted
    from diffdenoise.denoiser import Denoiser

    found, errors = _find(scans, output)
    return _denoise(Denoiser.load(model, device), found, errors, output, Wanted(sampler, seed, spread, removed))


@app.command
def evaluate(
    results: Annotated[Path, Parameter(help="A result, or a folder of results.")],
    *,
    reference: Annotated[Path, Parameter(help="The reference, or a folder with references of the same names.")],
    noisy: Annotated[Path | None, Parameter(help="The noisy input, or a folder of inputs, to compare with.")] = None,
    data_range: Annotated[
        Literal["fastMRI", "unit"],
        Parameter(help="fastMRI: the reference volume's maximum. unit: 1 for images in [0, 1], 255 for 8-bit ones."),
    ] = "fastMRI",
    json: Annotated[Path | None, Parameter(help="Write the figures to this file, too.")] = None,
) -> int:
    """Compare results with references: PSNR and SSIM, over the whole image and inside the foreground."""
    from diffdenoise.evaluate import evaluate_scans, figures_table

    rows, errors = evaluate_scans(results, reference, noisy, data_range)
    if json is not None:
        from diffdenoise.run_folder import write_json

        write_json(json, {"data_range": data_range, "scans": rows})
    if rows:
        _print(figures_table(rows, data_range))
    return _report_failures(list(map(str, errors)))


@app.command
def info(file: Annotated[Path, Parameter(help="A scan, a folder of scans, a model file or a run folder.")]) -> int:
    """Say what a scan or a model is: format, size, range, estimated noise; or how the model was trained."""
    from diffdenoise.describe import describe

    tables, errors = describe(file)
    for table in tables:
        _print(table)
    return _report_failures(list(map(str, errors)))


@app.command
def demo(
    *,
    output: Out = Path("demo-output"),
    sigma: Annotated[
        float, Parameter(help="Noise standard deviation, in units of 1/255 of the brightest value.")
    ] = 25.0,
    preset: Preset = None,
    budget: Budget = None,
    seed: Seed = 0,
    device: Device = "auto",
    config: ConfigFile = None,
) -> int:
    """Train and denoise real anatomy with known noise and known fine detail; writes a table, a picture and a page."""
    from diffdenoise.budget import parse_budget
    from diffdenoise.config import read_overrides
    from diffdenoise.demo import run_demo
    from diffdenoise.denoiser import choose_config
    from diffdenoise.device import choose_device
    from diffdenoise.progress import show_progress

    device = choose_device(device)  # type: ignore[assignment]
    # The demo shows every stage, so it takes a preset that has them.
    settings = choose_config(preset, device, read_overrides(config) if config else None, sampled=True, seed=seed)
    seconds = parse_budget(budget) if budget else None
    with show_progress() as progress:
        made = run_demo(output, settings, sigma / 255, device, seconds, progress)
    _print(made.table)
    _say(f"Picture: {made.picture}\nPage: {made.page}")
    return 0


@app.command
def clean(folder: Annotated[Path, Parameter(help="A run folder, or the output folder of `diffdenoise run`.")]) -> int:
    """Delete the patients' pixels that a fit keeps for resuming; the model and the results stay."""
    from diffdenoise.run_folder import clean as clean_run
    from diffdenoise.run_folder import find_run

    freed = clean_run(find_run(folder))
    _say(f"Freed {freed / 1e6:.1f} MB. The model stays.")
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors made for users are printed without a traceback, the exit status says how it went."""
    package = logging.getLogger("diffdenoise")
    package.handlers = [_Tell()]
    package.setLevel(logging.INFO)
    try:
        status = app(arguments, result_action="return_value")
    except DiffdenoiseError as error:
        _complain(str(error))
        status = 1
    except OSError as error:
        _complain(f"{error}. Check free space and rights; the same command again goes on where it stopped.")
        status = 1
    except (MemoryError, RuntimeError) as error:
        if not is_memory_error(error):
            raise
        _complain("Out of memory. Take smaller scans, a smaller preset or --config, or a machine with more memory.")
        status = 1
    except KeyboardInterrupt:
        _complain("Interrupted. Nothing is lost: the same command again goes on where it stopped.")
        status = 130
    sys.exit(status if isinstance(status, int) else 0)


def _find(scans: Sequence[Path], output: Path) -> tuple[list[Found], list[ScanError]]:
    """The scans, or the first error if there are none."""
    from diffdenoise.scans.files import find

    if output.is_file():
        raise ConfigError(f"{output}: is a file; -o names a folder.")
    found, errors = find(scans)
    if not found:
        raise errors[0] if errors else ConfigError("Name at least one scan, folder or pattern.")
    return found, errors


def _fit(
    found: Sequence[Found],
    folder: Path,
    preset: str | None,
    budget: str | None,
    sigma: float | None,
    seed: int,
    device: str,
    config: Path | None,
    sampled: bool = False,
) -> Denoiser:
    from diffdenoise.budget import parse_budget
    from diffdenoise.config import read_overrides, require_teacher
    from diffdenoise.denoiser import Denoiser, choose_config, sources_of
    from diffdenoise.device import choose_device
    from diffdenoise.pipeline import fit as fit_pipeline
    from diffdenoise.progress import show_progress

    seconds = parse_budget(budget) if budget else None
    chosen = choose_device(device)
    changed = read_overrides(config) if config else None
    settings = choose_config(preset, chosen, changed, sampled, sigma=sigma, seed=seed)
    if sampled:
        require_teacher(settings)
    with show_progress() as progress:
        done = fit_pipeline(sources_of(found), settings, folder, chosen, seconds, progress)
    return Denoiser(done.model, chosen, done.skipped)


def _denoise(
    denoiser: Denoiser, found: Sequence[Found], errors: Sequence[ScanError], output: Path, wanted: Wanted
) -> int:
    from diffdenoise.batch import denoise_scans
    from diffdenoise.progress import show_progress

    with show_progress() as progress:
        outcome = denoise_scans(denoiser, found, output, wanted, progress)
    _say(_summary(outcome, output))
    return _report_failures([*map(str, errors), *map(str, outcome.failed)])


def _summary(outcome: Outcome, output: Path) -> str:
    said = [f"Wrote {len(outcome.written)} to {output}."] if outcome.written else []
    if outcome.unchanged:
        said.append(f"{len(outcome.unchanged)} already there and up to date.")
    return " ".join(said) or "Nothing was written."


def _report_failures(messages: Sequence[str]) -> int:
    """Print each, and give the exit status: 1 if there was any."""
    for message in dict.fromkeys(messages):
        _complain(message)
    return 1 if messages else 0


class _Tell(logging.Handler):
    """Messages of the package as plain lines on stderr, whatever that is at the moment (progress bars replace it)."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr, flush=True)


def _print(table: Any) -> None:
    from rich.console import Console

    Console().print(table)


def _say(text: str) -> None:
    print(printable(text))


def _complain(text: str) -> None:
    print(f"diffdenoise: {text}", file=sys.stderr)
