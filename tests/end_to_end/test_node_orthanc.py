"""The node between two real Orthancs: a modality that sends, and an archive that receives."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from tests.faults import orthanc
from tests.node.node_checks import Destination, free_port, running, series, uid, wait_for

pytestmark = pytest.mark.skipif(
    orthanc.PROGRAM is None, reason="Orthanc is not installed (Debian: apt install orthanc)"
)


def test_each_derived_image_is_in_the_archive_exactly_once(tmp_path: Path, smoke_model: Path) -> None:
    mr, ct = series(tmp_path / "mr", 4, "MR"), series(tmp_path / "ct", 3, "CT")
    port = free_port()
    with (
        orthanc.running(tmp_path / "source", "SCANNER", {"NODE": ("DIFFDENOISE", port)}) as source,
        orthanc.running(tmp_path / "archive", "ARCHIVE") as archive,
        running(tmp_path, Destination(archive.dicom), smoke_model, port=port, callers=("SCANNER",)),
    ):
        names = sorted({source.upload(path) for path in mr + ct})
        before = {name: hashlib.sha256(content).digest() for name, content in source.files().items()}
        for _ in range(2):
            assert [source.send(name, "NODE") for name in names] == [True, True]
            wait_for(lambda: len(archive.json("/instances")) == 7)
        assert archive.sources() == {uid(path): 1 for path in mr + ct}
        assert {name: hashlib.sha256(content).digest() for name, content in source.files().items()} == before
        derived = [pydicom.dcmread(BytesIO(content)) for content in archive.files().values()]
    assert {path.parent.parent.name for path in (tmp_path / "spool").rglob("*.dcm")} == {"done"}
    for path in mr + ct:
        original = pydicom.dcmread(path)
        result = next(
            image for image in derived
            if image.SourceImageSequence[0].ReferencedSOPInstanceUID == original.SOPInstanceUID
        )  # fmt: skip
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient"):
            assert result.get(keyword) == original.get(keyword)
        assert result.SeriesInstanceUID != original.SeriesInstanceUID
        assert (result.pixel_array != original.pixel_array).any()
    assert len({image.SeriesInstanceUID for image in derived}) == 2


def test_a_corrected_copy_counts_as_stored_and_another_image_of_that_name_as_an_error(
    tmp_path: Path, smoke_model: Path
) -> None:
    (path,), port = series(tmp_path / "in", 1), free_port()
    dataset = pydicom.dcmread(path)
    with (
        orthanc.running(tmp_path / "source", "SCANNER", {"NODE": ("DIFFDENOISE", port)}) as source,
        running(tmp_path, Destination(), smoke_model, port=port),
    ):
        assert source.send(source.upload(path), "NODE")
        for keyword, value, taken in (("PatientName", "A^B", True), ("PixelData", bytes(64 * 64 * 2), False)):
            setattr(dataset, keyword, value)
            dataset.save_as(tmp_path / "changed.dcm")
            source.ask("/tools/bulk-delete", json.dumps({"Resources": source.json("/series")}).encode())
            assert source.send(source.upload(tmp_path / "changed.dcm"), "NODE") == taken
