from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from diffdenoise.node import receive
from diffdenoise.node.counters import Counters
from diffdenoise.node.receive import Receiver, listen
from diffdenoise.node.spool import Spool
from tests.node.node_checks import echo, free_port, send, series, wait_for


@contextmanager
def listening(tmp_path: Path) -> Iterator[tuple[int, Counters]]:
    """A receiver that lets SCANNER in; its port and counts."""
    (tmp_path / "spool").mkdir()
    counters, port = Counters(), free_port()
    end = listen(Receiver(Spool(tmp_path / "spool"), counters), "127.0.0.1", port, "DIFFDENOISE", ("SCANNER",))
    try:
        yield port, counters
    finally:
        end()


@pytest.fixture
def node(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[tuple[int, Counters]]:
    with caplog.at_level(logging.INFO, "diffdenoise"), listening(tmp_path) as found:
        yield found


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Levels and messages of our own log."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "diffdenoise"]


def rejections(counters: Counters) -> dict[str, int]:
    return {reason: number for (name, reason), number in counters.items() if name == "rejected" and number}


def offer(port: int, *contexts: tuple[str, str]) -> None:
    """Associate with these classes and transfer syntaxes, and go."""
    entity = AE("SCANNER")
    for sop_class, syntax in contexts:
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title="DIFFDENOISE")
    if association.is_established:
        association.release()


@pytest.mark.parametrize(
    ("called", "calling", "reason", "words"),
    [
        ("WRONG", "SCANNER", "called AE title", ["SCANNER at 127.0.0.1", "calls WRONG", "is DIFFDENOISE", "--title"]),
        ("DIFFDENOISE", "STRANGER", "calling AE title", ["STRANGER at 127.0.0.1", "--caller STRANGER"]),
    ],
)
def test_who_is_not_let_in_is_told_and_counted(
    node: tuple[int, Counters],
    caplog: pytest.LogCaptureFixture,
    called: str,
    calling: str,
    reason: str,
    words: list[str],
) -> None:
    port, counters = node
    assert not echo(port, called, calling)
    wait_for(lambda: rejections(counters) == {reason: 1})
    ((level, told),) = said(caplog)
    assert level == "WARNING"
    for word in words:
        assert word in told


def test_more_at_once_than_are_served_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(receive, "ASSOCIATIONS", 1)
    entity = AE("SCANNER")
    entity.add_requested_context(Verification)
    with listening(tmp_path) as (port, counters):
        first = entity.associate("127.0.0.1", port, ae_title="DIFFDENOISE")
        assert not echo(port)
        first.release()
    wait_for(lambda: counters["rejected"])
    assert rejections(counters) == {"too many at once": 1}
    assert "too many associations" in caplog.text


def test_what_is_no_dicom_is_told_once(node: tuple[int, Counters], caplog: pytest.LogCaptureFixture) -> None:
    port, counters = node
    with socket.create_connection(("127.0.0.1", port)) as plain, suppress(OSError):
        ssl.create_default_context().wrap_socket(plain, server_hostname="node")
    wait_for(lambda: said(caplog))
    assert rejections(counters) == {"not DICOM": 1}
    ((_, told),) = said(caplog)
    assert "TLS" in told


def test_a_look_whether_the_port_is_open_is_no_event(
    node: tuple[int, Counters], caplog: pytest.LogCaptureFixture
) -> None:
    port, counters = node
    socket.create_connection(("127.0.0.1", port)).close()
    assert echo(port)
    assert (rejections(counters), said(caplog)) == ({}, [])


def test_of_classes_that_are_not_taken_it_is_told_which_and_counted_where_nothing_is_left(
    node: tuple[int, Counters], caplog: pytest.LogCaptureFixture
) -> None:
    port, counters = node
    find = (str(StudyRootQueryRetrieveInformationModelFind), ExplicitVRLittleEndian)
    mr = (str(MRImageStorage), ExplicitVRLittleEndian)
    offer(port, mr, find)
    assert rejections(counters) == {}
    ((level, told),) = said(caplog)
    assert level == "INFO"
    assert "SCANNER at 127.0.0.1 offers what this node does not take: Study Root" in told
    for contexts in ([find], [(str(Verification), ExplicitVRLittleEndian), find]):
        caplog.clear()
        before = counters["rejected"]
        offer(port, *contexts)
        wait_for(lambda: said(caplog))
        assert rejections(counters) == {"no presentation context": before + 1}
        assert [level for level, _ in said(caplog)] == ["WARNING"]


def test_an_encoding_that_is_not_taken_is_named_unless_another_of_its_class_is(
    node: tuple[int, Counters], caplog: pytest.LogCaptureFixture
) -> None:
    port, counters = node
    offer(port, (CTImageStorage, DeflatedExplicitVRLittleEndian), (CTImageStorage, ExplicitVRLittleEndian))
    assert (rejections(counters), said(caplog)) == ({}, [])
    offer(port, (CTImageStorage, DeflatedExplicitVRLittleEndian))
    wait_for(lambda: said(caplog))
    assert rejections(counters) == {"no presentation context": 1}
    assert "CT Image Storage in Deflated Explicit VR" in caplog.text


def test_what_was_received_is_told_by_association_and_what_broke_off(
    node: tuple[int, Counters], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    port, _ = node
    paths = series(tmp_path / "in", 3)
    assert send(port, paths) == [0, 0, 0]
    wait_for(lambda: "Images received from SCANNER at 127.0.0.1: 3." in caplog.text)
    entity = AE("SCANNER")
    entity.add_requested_context(MRImageStorage, pydicom.dcmread(paths[0]).file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="DIFFDENOISE")
    association.send_c_store(paths[0])
    association.abort()
    wait_for(lambda: "SCANNER at 127.0.0.1 broke off. Images received: 1." in caplog.text)
