from __future__ import annotations

import logging
import shutil
import socket
import socketserver
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.sop_class import CTImageStorage

from diffdenoise.errors import ConfigError
from diffdenoise.node.counters import Counters
from diffdenoise.node.forward import LOOKING, POLL, Address, Delays, Forwarder, check_title
from diffdenoise.node.spool import Spool
from tests.node.node_checks import Destination, series, uid, wait_for


def filled(tmp_path: Path, slices: int = 4, modality: str = "CT") -> tuple[Spool, list[str]]:
    """A spool with derived images to send, and their UIDs in the order they are sent."""
    (tmp_path / "spool").mkdir(parents=True)
    spool = Spool(tmp_path / "spool")
    paths, results = series(tmp_path / "in", slices, modality), {}
    for path in paths:
        spool.add("s", path.stem, path.read_bytes())
        results[path.name] = Path(shutil.copy(path, tmp_path / f"derived-{path.name}"))
    spool.denoised("s", results)
    return spool, [uid(path) for path in spool.outgoing()]


@contextmanager
def forwarding(spool: Spool, destination: Destination, longest: float = 0.4) -> Iterator[Counters]:
    counters, stop = Counters(), Event()
    delays = Delays(first=0.05, longest=longest)
    forwarder = Forwarder(spool, destination.address, "DIFFDENOISE", counters, delays)
    thread = Thread(target=forwarder.run, args=(stop,))
    thread.start()
    try:
        yield counters
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive(), "it does not stop"


@pytest.mark.parametrize("status", [0, 0xB000, 0xB007])
def test_what_is_acknowledged_leaves_the_queue_and_is_sent_once(tmp_path: Path, status: int) -> None:
    spool, uids = filled(tmp_path)
    with (
        Destination(answer=lambda dataset: status).running() as destination,
        forwarding(spool, destination) as counters,
    ):
        wait_for(lambda: not spool.outgoing())
    assert destination.attempts == dict.fromkeys(uids, 1)
    assert counters["sent"] == 4
    assert spool.room.usage().done == 4


def test_while_the_receiver_is_down_everything_stays_and_goes_when_it_is_up(tmp_path: Path) -> None:
    spool, uids = filled(tmp_path)
    destination = Destination()
    with forwarding(spool, destination) as counters:
        wait_for(lambda: counters["send_failures"] > 2)
        assert len(spool.outgoing()) == 4
        with destination.running():
            wait_for(lambda: not spool.outgoing())
    assert set(destination.stored) == set(uids)


def said_to(tmp_path: Path, address: Address, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says at the start, and of a first attempt to send to this address."""
    spool, _ = filled(tmp_path)
    forwarder = Forwarder(spool, address, "DIFFDENOISE", Counters())
    with caplog.at_level(logging.INFO, "diffdenoise"):
        stop = Event()
        stop.set()
        forwarder.run(stop)  # says how it is and ends
        forwarder._send(spool.outgoing(), Event())
    return [record.getMessage() for record in caplog.records if record.name == "diffdenoise"]


def test_a_receiver_that_is_down_is_named_with_the_reason_and_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = Destination().address
    greeting, complaint = said_to(tmp_path, address, caplog)
    fault = f"Cannot send to ARCHIVE@127.0.0.1:{address.port}: Connection refused. See that it runs"
    assert greeting.startswith(fault)
    assert complaint.startswith(fault)
    assert "Images that wait: 4. Tried again in 1 s." in complaint


def test_a_receiver_that_is_no_dicom_is_told_from_one_that_is_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Dumb(socketserver.BaseRequestHandler):
        """Takes a connection and closes it."""

    with socketserver.TCPServer(("127.0.0.1", 0), Dumb) as server:
        Thread(target=server.serve_forever).start()
        said = said_to(tmp_path, Address("ARCHIVE", "127.0.0.1", server.server_address[1]), caplog)
        server.shutdown()
    assert all("no DICOM answer" in message for message in said)


@pytest.mark.parametrize(
    ("title", "callers", "words"),
    [
        ("OTHER", [], "OTHER is not its AE title. Correct --forward"),
        ("ARCHIVE", ["SOMEONE"], "it does not know our AE title DIFFDENOISE. Enter it there"),
    ],
)
def test_a_receiver_that_rejects_us_is_told_by_what_it_does_not_know(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, title: str, callers: list[str], words: str
) -> None:
    destination = Destination(callers=callers)
    with destination.running():
        said = said_to(tmp_path, Address(title, "127.0.0.1", destination.port), caplog)
    assert len(said) == 2
    assert all(words in message for message in said)


def test_what_is_sent_and_what_is_not_taken_is_told_once_for_all_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused: list[str] = []
    destination = Destination(answer=lambda dataset: 0xA700 if dataset.SOPInstanceUID in refused else 0)
    with destination.running():
        refused += filled(tmp_path / "like")[1][:2]
        greeting, sent, failed = said_to(tmp_path, destination.address, caplog)
    assert greeting == f"Derived series go to {destination.address}, which answers."
    assert sent == f"Images sent to {destination.address}: 2."
    assert "did not take: 2 (status A700, Refused: Out of Resources)" in failed
    assert "/outgoing/s/" in failed


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b"])
def test_a_receiver_whose_name_is_not_known_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    def unknown(*_: object, **__: object) -> None:
        host.encode("idna")  # as the real one does; UnicodeError for the second
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    spool, _ = filled(tmp_path)
    monkeypatch.setattr(Destination, "address", Address("ARCHIVE", host, 104))
    with forwarding(spool, Destination()) as counters:
        wait_for(lambda: counters["send_failures"] > 1)
    assert len(spool.outgoing()) == 4


def test_a_long_look_in_vain_is_followed_by_a_long_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, _ = filled(tmp_path)
    forwarder = Forwarder(spool, Destination().address, "DIFFDENOISE", Counters())
    for path in spool.outgoing():
        forwarder.delays.put_off(path)
    rests: list[float] = []

    class Stop(Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout or 0)
            return len(rests) > 2

    monkeypatch.setattr(spool, "outgoing", lambda outgoing=spool.outgoing: (time.sleep(0.05), outgoing())[1])
    forwarder.run(Stop())
    assert rests[0] == POLL
    assert min(rests[1:]) >= LOOKING * 0.05


@pytest.mark.parametrize("answer", [0xA700, 0xA900, 0xC000, 0x0122, None])
def test_one_image_that_is_refused_for_ever_does_not_hold_up_the_others(tmp_path: Path, answer: int | None) -> None:
    spool, uids = filled(tmp_path)
    poison = uids[0]
    destination = Destination(answer=lambda dataset: answer if dataset.SOPInstanceUID == poison else 0)
    with destination.running(), forwarding(spool, destination):
        wait_for(lambda: set(destination.stored) == set(uids[1:]))
        wait_for(lambda: destination.attempts[poison] > 2)
        assert [uid(path) for path in spool.outgoing()] == [poison]
        destination.answer = lambda dataset: 0
        wait_for(lambda: not spool.outgoing())
    assert set(destination.stored) == set(uids)


def test_a_class_that_the_receiver_does_not_take_does_not_hold_up_another(tmp_path: Path) -> None:
    spool, uids = filled(tmp_path, 2, "MR")
    paths = series(tmp_path / "ct", 2, "CT")
    for path in paths:
        spool.add("t", path.stem, path.read_bytes())
    spool.denoised("t", {path.name: Path(shutil.copy(path, tmp_path / path.name)) for path in paths})
    with Destination(contexts=(CTImageStorage,)).running() as destination, forwarding(spool, destination) as counters:
        wait_for(lambda: len(destination.stored) == 2)
        wait_for(lambda: len(spool.outgoing()) == 2)  # the receiver has it a moment before the sender knows
        assert {uid(path) for path in spool.outgoing()} == set(uids)
    assert {reason for (name, reason), _ in counters.items() if name == "send_failures"} == {"class not accepted"}


def test_a_damaged_file_does_not_hold_up_the_others(tmp_path: Path) -> None:
    spool, uids = filled(tmp_path)
    spool.outgoing()[0].write_bytes(b"damaged")
    with Destination().running() as destination, forwarding(spool, destination):
        wait_for(lambda: set(destination.stored) == set(uids[1:]))


def test_a_receiver_of_implicit_vr_alone_gets_that(tmp_path: Path) -> None:
    spool, uids = filled(tmp_path)
    with Destination(syntaxes=(ImplicitVRLittleEndian,)).running() as destination, forwarding(spool, destination):
        wait_for(lambda: not spool.outgoing())
    assert set(destination.stored) == set(uids)


@given(tries=st.integers(1, 200), first=st.floats(0.001, 10), longest=st.floats(0.001, 1000))
def test_delays_grow_up_to_the_longest_and_a_success_ends_them(tries: int, first: float, longest: float) -> None:
    delays, waits = Delays(first, longest), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffdenoise.node.forward.time.monotonic", lambda: 1.0)
        for _ in range(tries):
            delays.put_off("x")
            waits.append(delays._until["x"] - 1.0)
        assert not delays.due("x")
        assert delays.due("y")
    assert waits[0] == pytest.approx(min(first, longest))
    assert waits[1:] == pytest.approx([min(2 * wait, longest) for wait in waits[:-1]])
    assert delays.tries("x") == tries
    delays.succeed("x")
    assert delays.due("x")
    assert delays.tries("x") == 0


def test_an_address_is_read_or_its_form_is_told() -> None:
    assert Address.parse("ARCHIVE@pacs.example:104") == Address("ARCHIVE", "pacs.example", 104)
    assert Address.parse("A B@[::1]:11112") == Address("A B", "::1", 11112)
    for wrong in ("ARCHIVE", "ARCHIVE@host", "@host:104", "A@host:99999", "A" * 17 + "@host:104"):
        with pytest.raises(ConfigError):
            Address.parse(wrong)
    for wrong in ("", " ", "A" * 17, "a\\b", "ä"):
        with pytest.raises(ConfigError):
            check_title(wrong)
