"""The other sides of a node, on loopback: a sender, a receiver, and small series to send."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from diffdenoise.node.forward import Address, Delays
from diffdenoise.node.rules import Rules, load_rules
from diffdenoise.node.serve import Node, serve
from tests.conftest import noisy_disks
from tests.scans.dicom_checks import bundled

QUICK = Delays(first=0.05, longest=0.4)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(holds: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def series(folder: Path, slices: int = 3, modality: str = "MR", **tags: Any) -> list[Path]:
    """Noisy disks as a series of CT or MR images, with UIDs that depend on folder name, modality and tags alone."""
    folder.mkdir(parents=True, exist_ok=True)
    said = f"{folder.name} {modality} {sorted(tags.items())}"
    dataset = pydicom.dcmread(bundled(f"{modality}_small.dcm"))
    rows, columns = dataset.pixel_array.shape
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
        generate_uid(entropy_srcs=[what, said]) for what in ("study", "series")
    )
    for key, value in tags.items():
        setattr(dataset, key, value)
    paths = []
    for number, image in enumerate(noisy_disks(slices, rows, columns)):
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[said, str(number)])
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient = [0, 0, 3.0 * number]
        dataset.PixelData = (1000 * image).astype(np.int16).tobytes()
        paths.append(folder / f"{number}.dcm")
        dataset.save_as(paths[-1])
    return paths


def send(port: int, paths: list[Path], called: str = "DIFFDENOISE", calling: str = "SCANNER") -> list[int | None]:
    """The status of each, or None where there was no answer or no association."""
    entity = AE(calling)
    entity.add_requested_context(Verification)
    for path in paths:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return [None for _ in paths]
    answers = [association.send_c_store(path).get("Status") for path in paths]
    association.release()
    return answers


@dataclass
class Destination:
    """A receiver that keeps what it is sent. answer: the status for a dataset, None breaks the association off."""

    port: int = field(default_factory=free_port)
    answer: Callable[[pydicom.Dataset], int | None] = lambda dataset: 0
    syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    contexts: tuple[str, ...] = tuple(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
    callers: list[str] = field(default_factory=list)
    stored: dict[str, pydicom.Dataset] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)

    @property
    def address(self) -> Address:
        return Address("ARCHIVE", "127.0.0.1", self.port)

    @contextmanager
    def running(self) -> Iterator[Destination]:
        entity = AE("ARCHIVE")
        entity.require_called_aet, entity.require_calling_aet = True, self.callers
        entity.add_supported_context(Verification)
        for context in self.contexts:
            entity.add_supported_context(context, list(self.syntaxes))
        server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        try:
            yield self
        finally:
            entity.shutdown()
            del server

    def _store(self, event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.attempts[str(dataset.SOPInstanceUID)] += 1
        status = self.answer(dataset)
        if status is None:
            event.assoc.abort()
            return 0
        if status == 0 or status >> 12 == 0xB:
            self.stored[str(dataset.SOPInstanceUID)] = dataset
        return status

    def sources(self) -> Counter[str]:
        """How many derived images of each source it keeps."""
        return Counter(str(d.SourceImageSequence[0].ReferencedSOPInstanceUID) for d in self.stored.values())


@contextmanager
def running(
    tmp_path: Path, destination: Destination, model: Path, rules: Rules | None = None, **settings: Any
) -> Iterator[Node]:
    """A whole node in a thread; its error, if it ends with one, is raised at the end."""
    told = {"quiet": 0.3, "health_port": None, "device": "cpu", "port": free_port(), "delays": QUICK, **settings}
    node = Node(destination.address, rules or load_rules(None, model), tmp_path / "spool", **told)
    stop, errors = Event(), []

    def run() -> None:
        try:
            serve(node, stop)
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: errors or echo(node.port, node.title))
        yield node
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive(), "it does not stop"
    if errors:
        raise errors[0]


def echo(port: int, called: str = "DIFFDENOISE", calling: str = "SCANNER") -> bool:
    entity = AE(calling)
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return False
    answered = association.send_c_echo().get("Status") == 0
    association.release()
    return answered


def uid(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def everything(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
