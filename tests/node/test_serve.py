"""A whole node between a sender and a receiver, on loopback."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from urllib.request import urlopen

import pydicom
import pytest

from diffdenoise.cli import main
from diffdenoise.errors import ConfigError, ModelError, RunError
from diffdenoise.node import serve as serving
from diffdenoise.node.forward import Address
from diffdenoise.node.room import Bounds
from diffdenoise.node.rules import load_rules
from diffdenoise.node.serve import Node, require_pynetdicom
from diffdenoise.node.spool import Spool, make_spool_folder
from diffdenoise.scans.dicom_series import has_mark
from tests.node.node_checks import Destination, echo, everything, free_port, running, send, series, uid, wait_for


def test_each_image_comes_out_denoised_exactly_once(
    tmp_path: Path, smoke_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mr = series(tmp_path / "mr", 4, "MR", PatientName="Secret^Name", SeriesDescription="Secret description")
    ct = series(tmp_path / "ct", 3, "CT", PatientID="Secret ID")
    before, health = everything(tmp_path), free_port()
    with (
        caplog.at_level(logging.DEBUG),
        Destination().running() as destination,
        running(tmp_path, destination, smoke_model, health_port=health) as node,
    ):
        for _ in range(2):
            assert set(send(node.port, mr + ct)) == {0}
            wait_for(lambda: len(destination.stored) == 7)
        wait_for(lambda: not json.load(urlopen(f"http://127.0.0.1:{health}/health"))["queue"])
        told = json.load(urlopen(f"http://127.0.0.1:{health}/health"))
        numbers = urlopen(f"http://127.0.0.1:{health}/metrics").read().decode()
    assert destination.sources() == {uid(path): 1 for path in mr + ct}
    assert set(destination.attempts.values()) == {1}
    assert told["counts"] | {"received": 7, "repeated": 7, "denoised": 7, "sent": 7, "failed": 0} == told["counts"]
    assert {name: text for name, text in everything(tmp_path).items() if name in before} == before
    for path in mr + ct:
        source = pydicom.dcmread(path)
        derived = next(
            dataset for dataset in destination.stored.values()
            if dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        )  # fmt: skip
        assert (derived.StudyInstanceUID, derived.PatientID) == (source.StudyInstanceUID, source.PatientID)
        assert derived.ImageType[0] == "DERIVED"
    for secret in ("Secret", uid(mr[0])):
        assert secret not in caplog.text + numbers + json.dumps(told)


def test_a_model_that_is_damaged_ends_the_node_and_what_came_stays(tmp_path: Path, smoke_model: Path) -> None:
    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes(smoke_model.read_bytes()[:-100])
    spool = Spool(make_spool_folder(tmp_path / "spool"))
    for path in series(tmp_path / "in", 2):
        spool.add("s", path.stem, path.read_bytes())
    with pytest.raises(ModelError), Destination().running() as destination, running(tmp_path, destination, damaged):
        pass
    assert Spool(tmp_path / "spool").room.usage().waiting == 2


def test_only_those_who_may_are_let_in_and_sources_are_kept_for_the_hours_told(
    tmp_path: Path, smoke_model: Path
) -> None:
    done = make_spool_folder(tmp_path / "spool") / "done"
    for hours in (1, 3):
        (done / str(hours)).mkdir(parents=True)
        (done / str(hours) / "0.dcm").touch()
        os.utime(done / str(hours), 2 * (time.time() - 3600 * hours,))
    with running(tmp_path, Destination(), smoke_model, callers=("SCANNER",), keep=2.0) as node:
        assert echo(node.port)
        assert not echo(node.port, calling="STRANGER")
        wait_for(lambda: not (done / "3").exists())
    assert (done / "1").exists()


def test_an_address_that_is_not_this_machines_is_refused(tmp_path: Path, smoke_model: Path) -> None:
    node = Node(Address("X", "127.0.0.1", free_port()), load_rules(None, smoke_model), tmp_path / "spool")
    stop = Event()
    stop.set()
    with pytest.raises(ConfigError, match=r"Cannot listen on 203\.0\.113\.1:"):
        serving.serve(replace(node, host="203.0.113.1", health_port=None), stop)


def test_the_command_tells_the_node_all_that_it_is_told(
    tmp_path: Path, smoke_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes: list[Node] = []
    monkeypatch.setattr(serving, "serve", nodes.append)
    options = ["--forward", "ARCHIVE@pacs.example:104", "--model", smoke_model, "--spool", tmp_path, "--device", "cpu"]
    options += ["--host", "0.0.0.0", "--port", 4242, "--title", "NODE", "--caller", "SCANNER", "--caller", "OTHER"]
    options += ["--quiet-seconds", 3, "--keep", 2, "--max-images", 7, "--max-gb", 0.5, "--health-port", 0]
    with pytest.raises(SystemExit, match="0"):
        main(["serve", *map(str, options)])
    assert nodes == [
        Node(
            forward=Address("ARCHIVE", "pacs.example", 104),
            rules=load_rules(None, smoke_model),
            spool=tmp_path,
            host="0.0.0.0",
            port=4242,
            title="NODE",
            callers=["SCANNER", "OTHER"],
            quiet=3,
            keep=2,
            bounds=Bounds(7, 0.5e9),
            health_port=None,
            device="cpu",
        )
    ]


def test_two_nodes_do_not_share_a_spool(tmp_path: Path, smoke_model: Path) -> None:
    destination = Destination()
    with (
        running(tmp_path, destination, smoke_model),
        pytest.raises(RunError, match="another"),
        running(tmp_path, destination, smoke_model),
    ):
        pass


def test_a_spool_that_cannot_be_worked_with_is_told_by_the_folder(tmp_path: Path, smoke_model: Path) -> None:
    recipe = make_spool_folder(tmp_path / "spool") / "recipe"
    recipe.mkdir()
    node = Node(Address("X", "127.0.0.1", free_port()), load_rules(None, smoke_model), tmp_path / "spool")
    with pytest.raises(RunError, match=f"{recipe}: cannot be used"):
        serving.serve(replace(node, health_port=None))


def test_a_node_that_takes_nothing_says_so_at_the_start(
    tmp_path: Path, smoke_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, Destination(), smoke_model, bounds=Bounds(free=10**18)):
        pass
    assert "Nothing is taken at the moment: the disk of" in caplog.text


@pytest.mark.parametrize("times", [{"quiet": math.nan}, {"quiet": math.inf}, {"keep": -1.0}])
def test_times_that_are_none_are_refused(tmp_path: Path, smoke_model: Path, times: dict[str, float]) -> None:
    node = Node(Address("X", "127.0.0.1", free_port()), load_rules(None, smoke_model), tmp_path / "spool", **times)
    with pytest.raises(ConfigError, match="is no time"):
        serving.serve(node)
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("bounds", [Bounds(images=0), Bounds(bytes=math.nan), Bounds(bytes=-1e9)])
def test_bounds_that_let_nothing_in_are_refused(tmp_path: Path, smoke_model: Path, bounds: Bounds) -> None:
    node = Node(Address("X", "127.0.0.1", free_port()), load_rules(None, smoke_model), tmp_path / "spool")
    with pytest.raises(ConfigError, match="more than 0"):
        serving.serve(replace(node, bounds=bounds))
    assert not (tmp_path / "spool").exists()
    serving._check_numbers(replace(node, bounds=Bounds(bytes=math.inf)))


def test_pynetdicom_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    require_pynetdicom()
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[node\]'"):
        require_pynetdicom()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_receives_before_its_model_is_loaded_and_ends_when_told(
    tmp_path: Path, smoke_model: Path, number: signal.Signals
) -> None:
    port = free_port()
    options = ["--forward", f"ARCHIVE@127.0.0.1:{free_port()}", "--model", smoke_model, "--port", port]
    options += ["--spool", tmp_path / "spool", "--health-port", 0, "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "diffdenoise", "serve", *map(str, options)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        wait_for(lambda: echo(port) or process.poll() is not None)
        assert send(port, series(tmp_path / "in", 2)) == [0, 0]
        assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
        process.send_signal(number)
        assert process.wait(180) == 0  # it loads the model to the end first
    finally:
        process.kill()
    assert process.stderr is not None
    said = process.stderr.read()
    assert said.index("Receiving") < said.index("Ended")
    assert "Models loaded" not in said[: said.index("Receiving")]
    assert Spool(tmp_path / "spool").room.usage().queue == 2


def test_a_restart_goes_on_where_the_last_one_ended(tmp_path: Path, smoke_model: Path) -> None:
    paths, destination = series(tmp_path / "in", 3), Destination()
    rules = load_rules(None, smoke_model)
    with running(tmp_path, destination, smoke_model, rules) as node:  # the receiver is down
        assert send(node.port, paths[:2]) == [0, 0]
        wait_for(lambda: len(list((tmp_path / "spool" / "outgoing").glob("*/*.dcm"))) == 2)
        assert send(node.port, paths[2:]) == [0]
    with destination.running(), running(tmp_path, destination, smoke_model, rules):
        wait_for(lambda: len(destination.stored) == 3)
    assert set(destination.attempts.values()) == {1}


@pytest.mark.shared
def test_of_real_files_each_is_denoised_or_accounted_for(shared_data: Path, tmp_path: Path, smoke_model: Path) -> None:
    files = sorted((shared_data / "formats_dicom").glob("*.dcm"))
    paths = [path for path in files if has_mark(path) and path.stat().st_size < 200_000]
    health = free_port()
    with (
        Destination().running() as destination,
        running(tmp_path, destination, smoke_model, health_port=health) as node,
    ):
        for path in paths:
            with suppress(AttributeError, ValueError):  # some are too broken to be sent at all
                send(node.port, [path])
        wait_for(lambda: not json.load(urlopen(f"http://127.0.0.1:{health}/health"))["queue"], 300)
        counts = json.load(urlopen(f"http://127.0.0.1:{health}/health"))["counts"]
    assert counts["received"] > 10
    assert counts["received"] == counts["denoised"] + counts["passed_over"] + counts["failed"]
    assert counts["denoised"] == counts["sent"] == len(destination.stored) > 5
    assert set(destination.sources().values()) == {1}
