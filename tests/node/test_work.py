from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.tag import Tag, tag_in_exception
from pydicom.uid import ImplicitVRLittleEndian

from diffdenoise.batch import Wanted, denoise_scans
from diffdenoise.denoiser import Denoiser
from diffdenoise.errors import ConfigError, ScanError
from diffdenoise.node import work
from diffdenoise.node.counters import Counters
from diffdenoise.node.rules import Rule, Rules
from diffdenoise.node.spool import Spool
from diffdenoise.node.work import TRIES, Worker, decide, load_models
from diffdenoise.scans import dicom
from diffdenoise.scans.files import find
from tests.node.node_checks import series, uid, wait_for
from tests.scans.dicom_checks import bundled, changed_copy, raw


@pytest.fixture(scope="module")
def rules(smoke_model: Path) -> Rules:
    model = str(smoke_model)
    return Rules(
        rule=(Rule(modality="MR", description="*half*", model=model, strength=0.5), Rule(modality="MR", model=model))
    )


@pytest.fixture(scope="module")
def denoisers(rules: Rules) -> dict[str, Denoiser]:
    return load_models(rules, "cpu")


@pytest.fixture
def worker(tmp_path: Path, rules: Rules) -> Worker:
    (tmp_path / "spool").mkdir()
    return Worker(Spool(tmp_path / "spool"), rules, Counters(), "cpu", 0, 3600)


def add(worker: Worker, paths: list[Path], series: str = "s") -> None:
    for path in paths:
        worker.spool.add(series, path.stem, path.read_bytes())


def outgoing(worker: Worker) -> dict[str, Path]:
    return {path.stem: path for path in worker.spool.outgoing()}


def test_a_node_makes_the_very_files_that_the_command_makes(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path
) -> None:
    paths = series(tmp_path / "in", 3, SeriesDescription="half of it")
    add(worker, paths)
    worker.series("s", denoisers, Event())
    (denoiser,) = denoisers.values()
    denoise_scans(denoiser, find([tmp_path / "in"])[0], tmp_path / "out", Wanted(strength=0.5), lambda *_: None)
    made = {path.stem: path.read_bytes() for path in (tmp_path / "out" / "in").iterdir()}
    assert {name: path.read_bytes() for name, path in outgoing(worker).items()} == made
    assert len(made) == worker.spool.room.usage().done == 3
    assert worker.counters["denoised"] == 3


def test_late_slices_are_denoised_with_their_neighbours_and_those_sent_stay_as_they_are(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = series(tmp_path / "in", 4)
    add(worker, paths[:3])
    worker.series("s", denoisers, Event())
    for path in worker.spool.outgoing():
        worker.spool.sent(path)
    seen = []
    monkeypatch.setattr("diffdenoise.batch.read_scan", lambda item: seen.append(len(item.paths)) or _read(item))
    add(worker, paths)
    worker.series("s", denoisers, Event())
    assert list(outgoing(worker)) == [paths[3].stem]
    assert seen == [4]


def _read(item: Any) -> Any:
    from diffdenoise.scans.files import read_scan

    return read_scan(item)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "CT"}, "no rule"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "no image to denoise"),
        ({"PhotometricInterpretation": "RGB"}, "no image to denoise"),
    ],
)
def test_what_no_rule_asks_for_or_is_no_image_is_passed_over(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path, tags: dict[str, Any], reason: str
) -> None:
    add(worker, series(tmp_path / "in", 2, **tags))
    for _ in range(2):
        worker.series("s", denoisers, Event())
    assert dict(worker.counters.items())["passed_over", reason] == 2
    usage = worker.spool.room.usage()
    assert (usage.queue, usage.done, usage.failed) == (0, 0, 0)


def test_its_own_results_are_not_denoised_again(worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path) -> None:
    add(worker, series(tmp_path / "in", 2))
    worker.series("s", denoisers, Event())
    add(worker, worker.spool.outgoing(), "sent back")
    worker.series("sent back", denoisers, Event())
    assert dict(worker.counters.items())["passed_over", "made by diffdenoise"] == 2
    assert decide(worker.rules, worker.spool.outgoing()[0]) == (None, "made by diffdenoise")


def test_one_damaged_slice_is_set_aside_and_the_others_are_denoised(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path
) -> None:
    paths = series(tmp_path / "in", 4)
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[: len(content) - 2000])
    add(worker, paths)
    for _ in range(2):
        worker.series("s", denoisers, Event())
    assert set(outgoing(worker)) == {"0", "2", "3"}
    assert [path.stem for path in worker.spool.folder.glob("failed/s/*.dcm")] == ["1"]
    assert "can hold" in (worker.spool.folder / "failed" / "s" / "reason.txt").read_text()
    assert worker.spool.room.usage().waiting == 0


def test_one_slice_that_cannot_be_written_again_is_set_aside_and_the_others_are_denoised(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path
) -> None:
    paths = series(tmp_path / "in", 4)
    dataset = pydicom.dcmread(paths[1])
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(paths[1], implicit_vr=True, little_endian=True)
    raw(paths[1], AcquisitionMatrix=b"1234567")  # of 16-bit numbers: pydicom reads the rest, and cannot write it
    add(worker, paths)
    for _ in range(2):
        worker.series("s", denoisers, Event())
    assert set(outgoing(worker)) == {"0", "2", "3"}
    assert [path.stem for path in worker.spool.folder.glob("failed/s/*.dcm")] == ["1"]
    assert "cannot be written again" in (worker.spool.folder / "failed" / "s" / "reason.txt").read_text()


def test_what_goes_wrong_before_a_rule_is_found_fails_the_series_not_the_node(
    worker: Worker,
    denoisers: dict[str, Denoiser],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(work, "find", _raise(AttributeError("a bug")))
    add(worker, series(tmp_path / "in", 2))
    worker.series("s", denoisers, Event())
    assert worker.spool.room.usage().failed == worker.counters["failed"] == 2
    reason = worker.spool.folder / "failed" / "s" / "reason.txt"
    assert "a bug" in reason.read_text()
    assert f"{reason} says why" in caplog.text
    assert "a bug" not in caplog.text  # it may quote what stands in the image
    monkeypatch.setattr(work, "find", _raise(OSError(errno.EMFILE, "Too many open files")))
    add(worker, series(tmp_path / "more", 2), "t")
    with pytest.raises(work._NoSpace):
        worker.series("t", denoisers, Event())


@pytest.mark.parametrize("content", [b"", b"no DICOM", 140 * b"\0"])
def test_an_image_that_was_damaged_in_the_spool_is_set_aside(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path, content: bytes
) -> None:
    add(worker, series(tmp_path / "in", 3))
    worker.spool.sources("s")[0][0].write_bytes(content)
    for _ in range(2):
        worker.series("s", denoisers, Event())
    usage = worker.spool.room.usage()
    assert (usage.waiting, usage.outgoing, usage.failed) == (0, 2, 1)


@pytest.mark.parametrize("error", [MemoryError("too large"), RuntimeError("a bug")])
def test_whatever_goes_wrong_the_series_is_set_aside_with_the_reason(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(work, "_denoise", _raise(error))
    add(worker, series(tmp_path / "in", 2))
    worker.series("s", denoisers, Event())
    assert worker.spool.room.usage().failed == worker.counters["failed"] == 2
    assert str(error) in (worker.spool.folder / "failed" / "s" / "reason.txt").read_text()
    assert worker.spool.ready(0) == []


def _raise(error: BaseException) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def test_a_series_that_kills_the_node_is_set_aside_in_the_end(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path
) -> None:
    add(worker, series(tmp_path / "in", 1))
    for _ in range(TRIES):
        worker.spool.begin("s")
    worker.series("s", denoisers, Event())
    assert worker.spool.room.usage().failed == 1


def test_a_full_disk_fails_nothing(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(worker, series(tmp_path / "in", 2))

    def full(*_: Any) -> None:
        with tag_in_exception(Tag("PixelData")):  # as pydicom writes: it raises OSError anew, without its number
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("diffdenoise.scans.dicom._save", full)
        for _ in range(2 * TRIES):
            with pytest.raises(work._NoSpace):
                worker.series("s", denoisers, Event())
    worker.series("s", denoisers, Event())
    assert worker.counters["denoised"] == 2


def test_at_work_it_waits_for_room_on_the_disk_and_keeps_sources_no_longer_than_told(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save, tries = dicom._save, []

    def full_at_first(*given: Any) -> None:
        tries.append(given)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*given)

    monkeypatch.setattr(dicom, "_save", full_at_first)
    monkeypatch.setattr(work, "POLL", 0.01)
    monkeypatch.setattr(work, "REST", 0.0)
    worker.keep = 0
    add(worker, series(tmp_path / "in", 2))
    stop = Event()
    thread = Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        wait_for(lambda: len(worker.spool.outgoing()) == 2)
        for path in worker.spool.outgoing():
            worker.spool.sent(path)
        wait_for(lambda: not any((worker.spool.folder / "done").iterdir()))
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive(), "it does not stop"
    assert worker.counters["denoised"] == 2
    assert len(tries) == 3  # of two images one was tried twice
    assert f"{worker.spool.folder}: No space left on device. Denoising waits" in caplog.text
    assert worker.spool.room.usage().failed == 0


def test_told_to_stop_it_leaves_the_series_where_it_is(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(worker, series(tmp_path / "in", 2))
    stop = Event()
    stop.set()
    with caplog.at_level(logging.INFO, "diffdenoise"), pytest.raises(work._Stopped):
        worker.series("s", denoisers, stop)
    assert caplog.messages == ["Series s: 2 images are being denoised."]
    assert worker.spool.room.usage().waiting == 2
    assert not any((worker.spool.folder / "work").iterdir())


def test_scans_of_two_sizes_in_one_series_are_both_denoised(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path
) -> None:
    paths = series(tmp_path / "in", 4)
    for number in (2, 3):
        dataset = pydicom.dcmread(paths[number])
        pixels = np.ascontiguousarray(dataset.pixel_array[:48])
        changed_copy(paths[number], paths[number], Rows=48, PixelData=pixels.tobytes())
    add(worker, paths)
    worker.series("s", denoisers, Event())
    assert len({uid(path) for path in worker.spool.outgoing()}) == 4


def test_logs_do_not_tell_the_description_of_a_series_in_two_directions(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = series(tmp_path / "in", 4, SeriesDescription="Secret")
    for path in paths[2:]:
        changed_copy(path, path, ImageOrientationPatient=[1, 0, 0, 0, 0, 1])
    for path in paths:  # without noise: of that the log tells
        flat = np.zeros_like(pydicom.dcmread(path).pixel_array)
        changed_copy(path, path, PixelData=flat.tobytes())
    add(worker, paths)
    with caplog.at_level(logging.DEBUG):
        worker.series("s", denoisers, Event())
    assert worker.counters["denoised"] == 4
    assert "no noise" in caplog.text
    assert "secret" not in caplog.text.lower()


def test_what_is_deleted_by_hand_while_it_is_denoised_does_not_end_the_node(
    worker: Worker, denoisers: dict[str, Denoiser], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(worker, series(tmp_path / "in", 2))
    denoise = work._denoise

    def meanwhile(*given: Any) -> Any:
        made = denoise(*given)
        worker.spool.sources("s")[0][0].unlink()
        return made

    monkeypatch.setattr(work, "_denoise", meanwhile)
    worker.series("s", denoisers, Event())
    usage = worker.spool.room.usage()
    assert (usage.waiting, usage.done, usage.failed) == (0, 1, 0)


def test_a_deflated_image_is_measured_before_it_is_unpacked(
    rules: Rules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffdenoise.scans.dicom_series.memory", lambda: 1000)
    with pytest.raises(ScanError, match="memory"):
        decide(rules, bundled("image_dfl.dcm"))


def test_a_rule_that_samples_needs_a_model_that_can(rules: Rules, smoke_model: Path, monkeypatch) -> None:
    sampling = Rules(rule=(Rule(model=str(smoke_model), sampler="srds"),))
    assert load_models(sampling, "cpu")
    load = Denoiser.load
    poor = lambda *arguments: _without_teacher(load(*arguments))  # noqa: E731
    monkeypatch.setattr(Denoiser, "load", poor)
    with pytest.raises(ConfigError, match="no diffusion model"):
        load_models(sampling, "cpu")
    with pytest.raises(ConfigError, match="no second opinion"):
        load_models(Rules(rule=(Rule(model=str(smoke_model), sampler="second_opinion"),)), "cpu")


def test_a_rule_that_leaves_series_alone_needs_no_model(smoke_model: Path) -> None:
    model = str(smoke_model)
    assert load_models(Rules(rule=(Rule(description="*scout*", strength=0), Rule(model=model))), "cpu").keys() == {
        model
    }
    assert load_models(Rules(rule=(Rule(model="not loaded", strength=0), Rule(model=model))), "cpu").keys() == {model}


def _without_teacher(denoiser: Denoiser) -> Denoiser:
    from diffdenoise.presets import make_config

    denoiser.model = replace(denoiser.model, config=make_config("fast"))
    return denoiser
