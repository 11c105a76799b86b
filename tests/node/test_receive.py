from __future__ import annotations

import errno
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage

from diffdenoise.errors import ConfigError
from diffdenoise.node.counters import Counters
from diffdenoise.node.receive import Receiver, listen
from diffdenoise.node.room import Bounds
from diffdenoise.node.spool import Spool
from tests.node.node_checks import echo, free_port, send, series, wait_for
from tests.scans.dicom_checks import bundled


class Listening:
    """A receiver without the rest of a node."""

    def __init__(self, folder: Path, bounds: Bounds | None = None, callers: tuple[str, ...] = ()) -> None:
        folder.mkdir()
        self.spool, self.counters, self.port = Spool(folder, bounds), Counters(), free_port()
        self.end = listen(Receiver(self.spool, self.counters), "127.0.0.1", self.port, "DIFFDENOISE", callers)

    def kept(self) -> list[Path]:
        return sorted(self.spool.folder.glob("waiting/*/*.dcm"))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    listening = Listening(tmp_path / "spool")
    yield listening
    listening.end()


NAMES = [
    "CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
    "rtplan.dcm", "reportsi.dcm",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_images_of_any_class_and_syntax_are_kept_as_they_came(node: Listening, name: str) -> None:
    source = pydicom.dcmread(bundled(name))
    assert send(node.port, [bundled(name)]) == [0]
    kept = pydicom.dcmread(node.kept()[0])
    assert kept == source
    assert kept.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
    assert node.counters["received"] == 1


def test_deflated_images_are_not_taken_for_they_may_unpack_to_any_size(node: Listening) -> None:
    with pytest.raises(ValueError, match="Deflated"):
        send(node.port, [bundled("image_dfl.dcm")])
    assert node.kept() == []


def test_only_those_who_know_our_name_and_are_known_are_let_in(tmp_path: Path) -> None:
    listening = Listening(tmp_path / "spool", callers=("SCANNER", "ARCHIVE"))
    try:
        assert echo(listening.port)
        assert echo(listening.port, calling="ARCHIVE")
        assert not echo(listening.port, calling="STRANGER")
        assert not echo(listening.port, called="ANYONE")
        assert send(listening.port, [bundled("CT_small.dcm")], calling="STRANGER") == [None]
        assert listening.kept() == []
    finally:
        listening.end()


def test_beyond_its_bounds_it_takes_no_more_and_says_so(tmp_path: Path) -> None:
    listening = Listening(tmp_path / "spool", Bounds(images=2))
    try:
        assert send(listening.port, series(tmp_path / "in", 4)) == [0, 0, 0xA700, 0xA700]
        assert len(listening.kept()) == 2
        assert listening.counters["refused"] == 2
    finally:
        listening.end()


def test_sources_that_were_sent_give_way_to_what_comes(tmp_path: Path) -> None:
    paths = series(tmp_path / "in", 2)
    listening = Listening(tmp_path / "spool", Bounds(bytes=7 * paths[0].stat().st_size // 2))
    try:
        for number in range(2):
            listening.spool.add("old", str(number), paths[0].read_bytes())
            (tmp_path / str(number)).touch()
        listening.spool.denoised("old", {f"{number}.dcm": tmp_path / str(number) for number in range(2)})
        assert send(listening.port, paths) == [0, 0xA700]  # what was made of them is not sent yet
        for path in listening.spool.outgoing():
            listening.spool.sent(path)
        assert send(listening.port, paths) == [0, 0]
        assert listening.spool.room.usage().done == 0
    finally:
        listening.end()


def test_a_disk_that_refuses_is_told_to_the_sender(
    node: Listening, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (node.spool.folder / "waiting").rmdir()
    (node.spool.folder / "waiting").touch()  # no folder can be made in it
    paths = series(tmp_path / "in", 1)
    assert send(node.port, paths) == [0xA700]
    assert f"The disk refuses to write ({node.spool.folder}: Not a directory)" in caplog.text
    (node.spool.folder / "waiting").unlink()
    (node.spool.folder / "waiting").mkdir()
    assert send(node.port, paths) == [0]


def test_a_refused_image_is_told_with_its_sender_and_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listening = Listening(tmp_path / "spool", Bounds(images=1))
    try:
        assert send(listening.port, series(tmp_path / "in", 2)) == [0, 0xA700]
    finally:
        listening.end()
    assert "Refused an image from SCANNER at 127.0.0.1" in caplog.text
    assert "images in the queue: 1, no more with this --max-images" in caplog.text


def test_what_nobody_foresaw_is_counted_and_told_without_what_stands_in_the_image(
    node: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("Secret^Name")

    monkeypatch.setattr(Spool, "add", broken)
    assert send(node.port, series(tmp_path / "in", 1)) == [0x0110]
    assert node.counters["refused"] == 1
    assert "KeyError" in caplog.text
    assert "Secret" not in caplog.text


def test_the_same_image_again_is_kept_once_and_another_of_the_same_name_is_refused(
    node: Listening, tmp_path: Path
) -> None:
    (path,) = series(tmp_path / "in", 1)
    assert send(node.port, [path, path]) == [0, 0]
    before = node.kept()[0].read_bytes()
    dataset = pydicom.dcmread(path)
    renamed, other = tmp_path / "renamed.dcm", tmp_path / "other.dcm"
    dataset.PatientName = "Corrected"
    dataset.save_as(renamed)
    assert send(node.port, [renamed]) == [0xB000]
    dataset.PixelData = np.zeros_like(dataset.pixel_array).tobytes()
    dataset.save_as(other)
    assert send(node.port, [other]) == [0xC000]
    assert [path.read_bytes() for path in node.kept()] == [before]
    assert (node.counters["received"], node.counters["repeated"], node.counters["refused"]) == (1, 2, 1)


def test_the_same_image_in_another_encoding_is_the_same(node: Listening, tmp_path: Path) -> None:
    one, other = bundled("MR_small.dcm"), bundled("MR_small_RLE.dcm")
    dataset = pydicom.dcmread(other)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.dcmread(one).SOPInstanceUID
    dataset.SeriesInstanceUID = pydicom.dcmread(one).SeriesInstanceUID
    dataset.save_as(tmp_path / "rle.dcm")
    assert send(node.port, [one, tmp_path / "rle.dcm"]) == [0, 0xB000]
    assert len(node.kept()) == 1


@pytest.mark.parametrize(("keyword", "status"), [("SeriesInstanceUID", 0xC000), ("SOPInstanceUID", 0xA900)])
def test_what_does_not_say_what_it_is_is_refused(node: Listening, tmp_path: Path, keyword: str, status: int) -> None:
    entity = AE("SCANNER")
    entity.add_requested_context(MRImageStorage, ImplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", node.port, ae_title="DIFFDENOISE")
    dataset = pydicom.dcmread(bundled("MR_small_implicit.dcm"))
    sent = _store(association, dataset, keyword)
    association.release()
    assert sent == status
    assert node.kept() == []


def _store(association, dataset: pydicom.Dataset, keyword: str) -> int:
    """Send it without an element, under the instance UID it had."""
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    delattr(dataset, keyword)
    request.DataSet = BytesIO(encode(dataset, True, True) or b"")
    association._reactor_checkpoint.clear()
    wait_for(lambda: association._is_paused)
    association.dimse.send_msg(request, 1)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(answer.Status)


def test_a_port_that_is_taken_is_told(node: Listening) -> None:
    with pytest.raises(ConfigError, match="--port"):
        listen(Receiver(node.spool, node.counters), "127.0.0.1", node.port, "DIFFDENOISE")


def test_a_port_of_the_systems_is_told_with_the_right_that_it_needs(
    node: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(AE, "start_server", refused)
    with pytest.raises(ConfigError, match=r":104 \(Permission denied\)\. Ports below 1024 need CAP_NET_BIND"):
        listen(Receiver(node.spool, node.counters), "127.0.0.1", 104, "DIFFDENOISE")
