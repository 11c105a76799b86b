"""The commands. No logic of their own, and no heavy import before a command runs: `--help` answers at once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from diffdenoise import __version__
from diffdenoise.errors import ConfigError, DiffdenoiseError, LeftAlone, RunError, ScanError, is_memory_error
from diffdenoise.interrupt import import_all, not_at_the_end
from diffdenoise.options import (
    Budget,
    ConfigFile,
    Counts,
    Device,
    FitSeed,
    Out,
    Preset,
    Removed,
    SamplerChoice,
    Scans,
    Seed,
    Sigma,
    Spread,
    Strength,
    Uncertainty,
    in_words,
)
from diffdenoise.text import OF_A_SERVICE, print_table, printable, some_of, tell_in_plain_lines, typed

if TYPE_CHECKING:
    from diffdenoise.batch import Outcome, Wanted
    from diffdenoise.config import Config
    from diffdenoise.denoiser import Denoiser
    from diffdenoise.scans.files import Found

app = App(
    name="diffdenoise",
    version=__version__,
    help="Denoise medical images without a single clean one. Research use only, not a medical device.",
    help_format="rich",
    suppress_keyboard_interrupt=False,  # main says what Ctrl-C means
)


@app.command
def run(
    scans: Scans,
    *,
    output: Out,
    preset: Preset = None,
    budget: Budget = None,
    sigma: Sigma = None,
    counts: Counts = None,
    sampler: SamplerChoice = "auto",
    uncertainty: Uncertainty = False,
    spread: Spread = False,
    removed: Removed = False,
    strength: Strength = 1.0,
    seed: FitSeed = None,
    device: Device = "auto",
    config: ConfigFile = None,
) -> int:
    """Fit on these scans and denoise them: what most people want.

    The fit is kept in OUTPUT/.diffdenoise; the same command again goes on where it was stopped.
    """
    import_all()
    from diffdenoise.batch import Wanted, blocked

    wanted = Wanted(sampler, seed or 0, spread, removed, uncertainty, strength)
    found, errors = _find(scans, output)
    problems = blocked(found, output, wanted)
    _report(problems)  # before the training; after it their turn comes, and they count as failed
    if len(problems) == len(found):
        return 1
    level = {"sigma": sigma, "counts": counts}
    denoiser = _fit(found, output / ".diffdenoise", preset, budget, level, seed, device, config, wanted)
    _say(f"Model: {output / '.diffdenoise'} (use it again with: diffdenoise denoise ... --model {typed(output)})")
    return _denoise(denoiser, found, [*errors, *denoiser.skipped], output, wanted)


@app.command
def fit(
    scans: Scans,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Run folder; it will hold the model.")],
    preset: Preset = None,
    budget: Budget = None,
    sigma: Sigma = None,
    counts: Counts = None,
    seed: FitSeed = None,
    device: Device = "auto",
    config: ConfigFile = None,
) -> int:
    """Train a model on noisy scans. The same command again goes on where it was stopped."""
    import_all()
    found, errors = _find(scans, output)
    denoiser = _fit(found, output, preset, budget, {"sigma": sigma, "counts": counts}, seed, device, config)
    _say(f"Model: {output / 'model.safetensors'}")
    return _report([*errors, *denoiser.skipped])


@app.command
def denoise(
    scans: Scans,
    *,
    model: Annotated[Path, Parameter(help="Model file, run folder, or output folder of `diffdenoise run`.")],
    output: Out,
    sampler: SamplerChoice = "auto",
    uncertainty: Uncertainty = False,
    spread: Spread = False,
    removed: Removed = False,
    strength: Strength = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
) -> int:
    """Denoise scans with a trained model."""
    import_all()
    from diffdenoise.batch import Wanted
    from diffdenoise.denoiser import Denoiser

    wanted = Wanted(sampler, seed, spread, removed, uncertainty, strength)
    found, errors = _find(scans, output)
    return _denoise(Denoiser.load(model, device), found, errors, output, wanted)


@app.command
def evaluate(
    results: Annotated[Path, Parameter(help="A result, or a folder of results.")],
    *,
    reference: Annotated[Path, Parameter(help="The reference of all, or a folder with references of the same names.")],
    noisy: Annotated[
        Path | None, Parameter(help="The noisy input of all, or a folder of inputs: figures before and after.")
    ] = None,
    data_range: Annotated[
        Literal["fastMRI", "unit"] | float,
        Parameter(
            help="fastMRI: the reference volume's maximum. unit: 1 for images in [0, 1], 255 for 8-bit. Or a number."
        ),
    ] = "fastMRI",
    json: Annotated[Path | None, Parameter(help="Write the figures as JSON to this file, too.")] = None,
) -> int:
    """Compare results with references: PSNR and SSIM, over the whole image and inside the foreground."""
    from diffdenoise.evaluate import evaluate_scans, figures_table, grouped, write_figures
    from diffdenoise.json_file import check_json

    check_json(json, "figures")
    rows, errors = evaluate_scans(results, reference, noisy, data_range)
    if rows:
        print_table(figures_table(rows, data_range))
    write_figures(json, rows, errors, data_range)
    return _report(grouped(errors))


@app.command
def info(
    files: Annotated[list[Path], Parameter(help="Scans, folders, model files or run folders.", negative=())],
    *,
    json: Annotated[Path | None, Parameter(help="Write it as JSON to this file, too.")] = None,
) -> int:
    """Say what a scan or a model is: format, size, range, estimated noise; or how the model was trained."""
    from diffdenoise.describe import describe, write_descriptions
    from diffdenoise.json_file import check_json

    check_json(json, "descriptions")
    described, errors = describe(files)
    for one in described:
        print_table(one.table())
    write_descriptions(json, described, errors)
    return _report(errors)


@app.command
def demo(
    *,
    output: Out = Path("demo-output"),
    sigma: Annotated[
        float, Parameter(help="Noise standard deviation, in units of 1/255 of the brightest value.")
    ] = 25.0,
    preset: Preset = None,
    budget: Budget = None,
    seed: FitSeed = None,
    device: Device = "auto",
    config: ConfigFile = None,
) -> int:
    """Train and denoise real anatomy with known noise and known fine detail; writes a table, a picture and a page."""
    import_all()
    from diffdenoise.demo import run_demo
    from diffdenoise.progress import show_progress

    # The demo shows every stage, so it takes a preset that has them.
    settings, chosen, seconds = _asked(preset, device, config, budget, sampled=True, seed=seed)
    with show_progress() as progress:
        made = run_demo(output, settings, sigma / 255, chosen, seconds, progress)
    print_table(made.table)
    _say(f"Picture: {made.picture}\nPage: {made.page}")
    return 0


@app.command
def serve(
    *,
    forward: Annotated[str, Parameter(help="Where derived series go: TITLE@host:port.")],
    model: Annotated[
        Path | None, Parameter(help="Model file, run folder, or output folder of `diffdenoise run`.")
    ] = None,
    rules: Annotated[
        Path | None, Parameter(help="TOML file: which series are denoised, with which model. All, if not given.")
    ] = None,
    port: Annotated[int, Parameter(help="Port to receive on.")] = 11112,
    host: Annotated[str, Parameter(help="Address to receive on; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    title: Annotated[str, Parameter(help="AE title of this node; who calls it otherwise is not let in.")] = (
        "DIFFDENOISE"
    ),
    caller: Annotated[
        list[str] | None, Parameter(negative=(), help="AE title that may send; repeat it for more. All, if not given.")
    ] = None,
    spool: Annotated[Path, Parameter(help="Folder of the queue; it holds patients' images.")] = Path(
        "diffdenoise-spool"
    ),
    quiet_seconds: Annotated[float, Parameter(help="A series is denoised when nothing came for so long.")] = 10.0,
    keep: Annotated[float, Parameter(help="Hours that sources are kept after sending, for late images.")] = 24.0,
    max_images: Annotated[int, Parameter(help="With so many images in the queue, no more are taken.")] = 50_000,
    max_gb: Annotated[float, Parameter(help="With so many gigabytes in the spool, no more are taken.")] = 50.0,
    health_port: Annotated[int, Parameter(help="Port of /health and /metrics on this machine; 0 for none.")] = 11113,
    device: Device = "auto",
) -> int:
    """Be a DICOM node: receive series, denoise them by rules, send the derived series on. SIGTERM or Ctrl-C ends it."""
    tell_in_plain_lines(OF_A_SERVICE)
    import_all()
    from diffdenoise.node.forward import Address
    from diffdenoise.node.room import Bounds
    from diffdenoise.node.rules import load_rules
    from diffdenoise.node.serve import Node
    from diffdenoise.node.serve import serve as serve_node

    node = Node(
        forward=Address.parse(forward),
        rules=load_rules(rules, model),
        spool=spool,
        host=host,
        port=port,
        title=title,
        callers=caller or (),
        quiet=quiet_seconds,
        keep=keep,
        bounds=Bounds(max_images, max_gb * 1e9),
        health_port=health_port or None,
        device=device,
    )
    serve_node(node)
    return 0


@app.command
def clean(
    folders: Annotated[list[Path], Parameter(help="Run folders, or output folders of `diffdenoise run`.", negative=())],
) -> int:
    """Delete the patients' pixels that a fit keeps for resuming; the model and the results stay."""
    from diffdenoise.run_folder import clean as clean_run
    from diffdenoise.run_folder import find_run

    errors = []
    for folder in folders:
        try:
            freed = clean_run(find_run(folder))
        except RunError as error:
            errors.append(str(error))
        else:
            _say(f"{typed(folder)}: freed {freed / 1e6:.1f} MB. The model stays.")
    return _report(errors)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors made for users are printed without a traceback, the exit status says how it went."""
    tell_in_plain_lines()
    try:
        status = app(arguments, result_action="return_value", exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _complain(in_words(error))
        status = 2
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
        _complain("Interrupted. The same command again goes on; of a training at most the last half minute is lost.")
        status = 130
    not_at_the_end()
    sys.exit(status if isinstance(status, int) else 0)


def _find(scans: Sequence[Path], output: Path) -> tuple[list[Found], list[ScanError]]:
    """The scans, or the first error if there are none."""
    from diffdenoise.scans.files import check_folder, find

    check_folder(output)
    found, errors = find(scans)
    if not found:
        failures = [error for error in errors if not isinstance(error, LeftAlone)]
        raise failures[0] if failures else ConfigError("Name at least one scan, folder or pattern.")
    return found, errors


def _fit(
    found: Sequence[Found],
    folder: Path,
    preset: str | None,
    budget: str | None,
    level: dict[str, float | None],
    seed: int | None,
    device: str,
    config: Path | None,
    wanted: Wanted | None = None,
) -> Denoiser:
    from diffdenoise.config import for_sampler
    from diffdenoise.denoiser import Denoiser, sources_of
    from diffdenoise.pipeline import fit as fit_pipeline
    from diffdenoise.progress import show_progress

    sampled = bool(wanted and wanted.sampled)
    settings, chosen, seconds = _asked(preset, device, config, budget, sampled, seed=seed, **level)
    if wanted:
        settings = for_sampler(settings, wanted.sampler, wanted.sampled)
    with show_progress() as progress:
        done = fit_pipeline(sources_of(found), settings, folder, chosen, seconds, progress)
    return Denoiser(done.model, chosen, done.skipped)


def _asked(
    preset: str | None, device: str, config: Path | None, budget: str | None, sampled: bool, **more: float | None
) -> tuple[Config, str, float | None]:
    """Of a fit: its settings, where it computes, and the seconds that it has."""
    from diffdenoise.budget import parse_budget
    from diffdenoise.config import read_overrides
    from diffdenoise.device import choose_device
    from diffdenoise.presets import choose_config

    seconds, chosen = None if budget is None else parse_budget(budget), choose_device(device)
    overrides = read_overrides(config) if config else None
    try:
        return choose_config(preset, chosen, overrides, sampled, **more), chosen, seconds
    except ConfigError as error:
        raise ConfigError(f"{config}: {error}" if config else str(error)) from error


def _denoise(
    denoiser: Denoiser, found: Sequence[Found], errors: Sequence[ScanError | str], output: Path, wanted: Wanted
) -> int:
    from diffdenoise.batch import denoise_scans
    from diffdenoise.progress import show_progress

    with show_progress() as progress:
        outcome = denoise_scans(denoiser, found, output, wanted, progress)
    _say(_summary(outcome, output))
    return _report([*errors, *outcome.failed])


def _summary(outcome: Outcome, output: Path) -> str:
    said = [f"Wrote {len(outcome.written)} to {typed(output)}."] if outcome.written else []
    if outcome.unchanged:
        said.append(f"{len(outcome.unchanged)} already there and up to date.")
    return " ".join(said) or "Nothing was written."


def _report(messages: Sequence[ScanError | str]) -> int:
    """Say what was left alone and what failed; the exit status: 1 if anything failed."""
    left = [message for message in messages if isinstance(message, LeftAlone)]
    failed = [str(message) for message in messages if not isinstance(message, LeftAlone)]
    for fault in dict.fromkeys(reason.fault for reason in left):
        paths = [reason.path for reason in left if reason.fault == fault]
        _say(f"Left alone: {some_of(paths)}: {fault}.")
    for message in dict.fromkeys(failed):
        _complain(message)
    return 1 if failed else 0


def _say(text: str) -> None:
    print(printable(text))


def _complain(text: str) -> None:
    logging.getLogger("diffdenoise").error("diffdenoise: %s", text)
