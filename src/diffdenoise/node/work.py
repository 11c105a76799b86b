"""The denoising side: a series that has been quiet for a while is denoised by the rule it matches."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from diffdenoise.errors import OtherKind, OwnResult, ScanError
from diffdenoise.node.counters import Counters
from diffdenoise.node.rules import Rule, Rules
from diffdenoise.node.spool import REASON, Spool
from diffdenoise.scans.dicom_derive import is_ours
from diffdenoise.scans.dicom_kind import check_kind
from diffdenoise.scans.dicom_series import check_inflated
from diffdenoise.scans.files import Found, find
from diffdenoise.scans.formats import FOLDERS
from diffdenoise.scans.stored import reading

if TYPE_CHECKING:
    from diffdenoise.denoiser import Denoiser

POLL = 0.5  # seconds between two looks at what waits
REST = 30.0  # seconds to wait where the disk is full
TRIES = 20  # a series at which the process died so often is set aside
_SHORT_OF = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)  # the machine's fault, not the series'
log = logging.getLogger("diffdenoise")


class _Stopped(Exception):
    """The node is to end: the series stays where it is."""


class _NoSpace(Exception):
    """The disk is full, or the machine short of files: the series stays where it is, and is tried again."""


@dataclass
class Worker:
    """Denoises what waits in the spool, series by series."""

    spool: Spool
    rules: Rules
    counters: Counters
    device: str
    quiet: float
    keep: float
    ready: bool = False  # the models are loaded

    def run(self, stop: Event) -> None:
        """Load the models, then denoise until told to stop. Raises ModelError or ConfigError: a model is no good."""
        denoisers = load_models(self.rules, self.device)
        self.ready = True
        log.info("Models loaded: %d.", len(denoisers))
        while not stop.wait(POLL):
            for series in self.spool.ready(self.quiet):
                try:
                    self.series(series, denoisers, stop)
                except _Stopped:
                    return
                except _NoSpace as error:
                    log.warning("%s: %s. Denoising waits for %.0f s.", self.spool.folder, error, REST)
                    stop.wait(REST)
            self.spool.forget(self.keep)
            self.spool.make_room(0)  # what was made of the sources takes room, too

    def series(self, series: str, denoisers: dict[str, Denoiser], stop: Event) -> None:
        """Denoise the images of a series that wait, with those that are done beside them."""
        waiting, done = self.spool.sources(series)
        try:
            if self.spool.begin(series) >= TRIES:
                self._fail(series, waiting, f"The node died {TRIES} times while it denoised this.")
            else:
                self._scans(series, waiting, done, denoisers, stop)
        except (_Stopped, _NoSpace):
            raise
        except Exception as error:  # unforeseen: it must not stop the other series, nor come again at each start
            if lack := _shortage(error):
                raise _NoSpace(lack) from error
            self._fail(series, [path for path in waiting if path.exists()], f"{type(error).__name__}: {error}")
        finally:
            self.spool.end(series)

    def _scans(
        self, series: str, waiting: list[Path], done: list[Path], denoisers: dict[str, Denoiser], stop: Event
    ) -> None:
        """Each scan of a series by itself: images of other sizes or directions are scans of their own."""
        others = [path for path in waiting if _is_other_kind(path)]
        self._pass_over(series, others, "no image to denoise")
        images = set(waiting) - set(others)
        for item in find([*images, *done], own_results=True)[0]:  # of those `decide` says why they are passed over
            if fresh := [path for path in item.paths if path in images]:
                self._scan(series, item, fresh, denoisers, stop)

    def _scan(self, series: str, item: Found, fresh: list[Path], denoisers: dict[str, Denoiser], stop: Event) -> None:
        """Only images that are fresh get a derived one: what was sent once never changes."""
        place = self.spool.workplace(series)
        if item.format in FOLDERS:  # a part of a series is called by its description, and logs name what is denoised
            item = replace(item, name=f"Series {series[:8]}")
        try:
            rule, reason = decide(self.rules, fresh[0])
            if rule is None:
                return self._pass_over(series, fresh, reason)
            log.info("Series %s: %d images are being denoised.", series[:8], len(fresh))
            results = _denoise(denoisers[str(rule.model)], item, place, rule, stop)
        except _Stopped:
            raise
        except ScanError as error:
            if lack := _shortage(error):
                raise _NoSpace(lack) from error
            self._fail(series, _blamed(error, fresh), str(error))
        except Exception as error:  # unforeseen, or memory: it must not stop the other series
            if lack := _shortage(error):
                raise _NoSpace(lack) from error
            self._fail(series, fresh, f"{type(error).__name__}: {error}")
        else:
            self.spool.denoised(series, {path.name: results[path.name] for path in fresh})
            self.counters.add("denoised", len(fresh))
            log.info("Series %s: %d images denoised.", series[:8], len(fresh))
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _pass_over(self, series: str, images: list[Path], reason: str) -> None:
        if images:
            self.spool.drop(series, [path.name for path in images])
            self.counters.add("passed_over", len(images), reason)
            log.info("Series %s: %d images passed over (%s).", series[:8], len(images), reason)

    def _fail(self, series: str, images: list[Path], reason: str) -> None:
        self.spool.fail(series, [path.name for path in images], reason)
        self.counters.add("failed", len(images))
        told = self.spool.folder / "failed" / series / REASON
        log.warning("Series %s: %d images failed; %s says why.", series[:8], len(images), told)


def load_models(rules: Rules, device: str) -> dict[str, Denoiser]:
    """The denoisers by path. Raises ModelError where a model is no good, ConfigError where it has no such sampler."""
    from diffdenoise.config import require_teacher
    from diffdenoise.denoiser import Denoiser
    from diffdenoise.inference import chosen

    denoisers = {str(path): Denoiser.load(path, device) for path in rules.models()}
    for rule in rules.rule:
        if not rule.strength:  # leaves its series alone, so its model was not loaded, and it may name none
            continue
        model = denoisers[str(rule.model)].model
        if chosen(model, rule.sampler) == "srds":
            require_teacher(model.config)
    return denoisers


def decide(rules: Rules, image: Path) -> tuple[Rule | None, str]:
    """The rule for an image's series; or None, and why it is not denoised. Raises ScanError: it cannot be read."""
    import pydicom

    asked = ["Modality", "SeriesDescription", "ContributingEquipmentSequence"]
    with reading(image, "DICOM"):
        check_inflated(image)
        header = pydicom.dcmread(image, stop_before_pixels=True, specific_tags=asked)
        ours = is_ours(header)
    if ours:  # the receiver may send back what it got: without end
        return None, "made by diffdenoise"
    return rules.choose(str(header.get("Modality") or ""), str(header.get("SeriesDescription") or "")), "no rule"


def _is_other_kind(image: Path) -> bool:
    """Whether it is no greyscale image, but a report, a localizer, a colour image, ..."""
    try:
        check_kind(image)
    except ScanError as error:
        return isinstance(error, OtherKind) and not isinstance(error, OwnResult)  # damage is found when it is read
    return False


def _denoise(denoiser: Denoiser, item: Found, place: Path, rule: Rule, stop: Event) -> dict[str, Path]:
    """The derived images, by the file names of their sources."""
    from diffdenoise.batch import Wanted, denoise_scans

    def go_on(what: str, done: int, total: int) -> None:
        if stop.is_set():
            raise _Stopped

    outcome = denoise_scans(denoiser, [item], place, Wanted(rule.sampler, strength=rule.strength), go_on)
    if outcome.failed:
        raise outcome.failed[0]
    result = outcome.written[0]
    return {path.name: path for path in (result.iterdir() if result.is_dir() else [result])}


def _blamed(error: ScanError, fresh: list[Path]) -> list[Path]:
    """The one image that is to blame, so that the others are tried again without it; else all."""
    return [error.path] if isinstance(error.path, Path) and error.path in fresh else fresh


def _shortage(error: BaseException | None) -> str:
    """The system's words, if the machine's shortage is at the bottom of it: libraries wrap it, some without number."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _SHORT_OF:
            return os.strerror(error.errno)
        error = error.__cause__ or error.__context__
    return ""
