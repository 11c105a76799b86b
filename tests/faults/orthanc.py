"""A real Orthanc (Debian's package `orthanc`) in a folder and on ports of its own, asked through its REST interface."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")


@dataclass(frozen=True)
class Orthanc:
    """One that runs. title, dicom: its AE title and port; http: the port of its REST interface."""

    title: str
    dicom: int
    http: int

    def ask(self, path: str, body: bytes | None = None, seconds: float = 60) -> bytes:
        """GET, or POST where there is a body. Raises HTTPError where Orthanc says no."""
        with urlopen(Request(f"http://127.0.0.1:{self.http}{path}", data=body), timeout=seconds) as answer:
            content: bytes = answer.read()
            return content

    def json(self, path: str) -> Any:
        return json.loads(self.ask(path))

    def upload(self, file: Path) -> str:
        """Give it an image; gives Orthanc's name of its series."""
        added = json.loads(self.ask("/instances", file.read_bytes()))
        return str(added["ParentSeries"])

    def send(self, series: str, to: str) -> bool:
        """C-STORE a series to another node that its configuration names; whether all of it was acknowledged."""
        try:
            self.ask(f"/modalities/{to}/store", json.dumps({"Resources": [series], "Synchronous": True}).encode())
        except (HTTPError, URLError, OSError):
            return False
        return True

    def files(self) -> dict[str, bytes]:
        """All images it holds, as DICOM files, by Orthanc's names."""
        return {name: self.ask(f"/instances/{name}/file") for name in self.json("/instances")}

    def tags(self) -> list[dict[str, Any]]:
        """The elements of each image, by keyword."""
        return [self.json(f"/instances/{name}/simplified-tags") for name in self.json("/instances")]

    def sources(self) -> Counter[str]:
        """How many derived images it holds of each source, by the source's UID."""
        return Counter(tags["SourceImageSequence"][0]["ReferencedSOPInstanceUID"] for tags in self.tags())


@contextmanager
def running(folder: Path, title: str, knows: dict[str, tuple[str, int]] | None = None) -> Iterator[Orthanc]:
    """An empty Orthanc. knows: other nodes by name, as (AE title, port)."""
    assert PROGRAM, "Orthanc is not installed"
    orthanc = Orthanc(title, free_port(), free_port())
    folder.mkdir(parents=True)
    settings = {
        "Name": title,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": title,
        "DicomPort": orthanc.dicom,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "HttpPort": orthanc.http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomScuTimeout": 30,
        "Plugins": [],
        "DicomModalities": {name: [aet, "127.0.0.1", port] for name, (aet, port) in (knows or {}).items()},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait_until_up(orthanc, process)
        yield orthanc
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(orthanc: Orthanc, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            orthanc.ask("/system")
            return
        except (URLError, OSError):
            assert process.poll() is None, "Orthanc has ended"
            time.sleep(0.1)
    raise TimeoutError("Orthanc does not answer")
