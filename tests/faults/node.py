"""`python -m tests.faults.node RESULT.json`: the node is killed (SIGKILL) at random moments between two Orthancs.

One Orthanc sends series after series, all of them twice, the other receives what the node makes of them. At the end
each image must be there denoised exactly once, no original changed, and nothing left in the node's queue.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any
from urllib.request import urlopen

import numpy as np
import pydicom
from cyclopts import App
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from diffdenoise import Denoiser, __version__
from diffdenoise.run_folder import write_json
from tests.faults.orthanc import Orthanc, free_port, running

SLICES = 8
PASSED = ("incoming", "waiting", "work", "outgoing")  # what an image passes on its way through the spool
PATIENCE = 900  # seconds for what is left after the last kill
app = App(name="python -m tests.faults.node", help=__doc__)


@dataclass
class Node:
    """The node as a process that can be killed and started again on the same spool."""

    folder: Path
    model: Path
    archive: Orthanc
    port: int = field(default_factory=free_port)
    health: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def start(self) -> None:
        options = ["--forward", f"ARCHIVE@127.0.0.1:{self.archive.dicom}", "--model", self.model, "--port", self.port]
        options += ["--spool", self.spool, "--health-port", self.health, "--quiet-seconds", 0.5, "--device", "cpu"]
        command = [sys.executable, "-m", "diffdenoise", "serve", *map(str, options)]
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def kill(self) -> None:
        assert self.process and self.process.poll() is None, "the node has ended by itself"
        self.process.kill()
        self.process.wait()

    def told(self) -> dict[str, Any]:
        """What it says of itself; nothing while it does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.health}/health", timeout=5) as page:
                said: dict[str, Any] = json.load(page)
                return said
        except OSError:
            return {}

    def doing(self) -> list[str]:
        """The states of its spool in which there is something."""
        return [state for state in PASSED if any((self.spool / state).glob("*"))]

    def images(self) -> Counter[str]:
        """How many files lie in each state of its spool."""
        files = (Path(place, name) for place, _, names in os.walk(self.spool) for name in names)
        return Counter(path.relative_to(self.spool).parts[0] for path in files if _is_image(path))


@app.default
def main(result: Path, *, kills: int = 50, seed: int = 0, model: Path | None = None) -> int:
    """Kill the node so often, and write to RESULT what became of the images. Exit status 1 if any came to harm."""
    with TemporaryDirectory(prefix="diffdenoise-faults-") as temporary:
        folder = Path(temporary)
        model = model or _smoke_model(folder / "model.safetensors")
        figures = _experiment(folder, model, kills, random.Random(seed))
    figures = {"version": __version__, "seed": seed, "python": platform.python_version(), **figures}
    write_json(result, figures)
    print(", ".join(f"{name} {figures[name]}" for name in SUMMARY))
    return 0 if figures["ok"] else 1


SUMMARY = ("ok", "kills", "images", "missing", "doubled", "strange", "changed_originals", "left_in_queue", "seconds")


def _experiment(folder: Path, model: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    begun, port = time.monotonic(), free_port()
    with (
        running(folder / "source", "SCANNER", {"NODE": ("DIFFDENOISE", port)}) as source,
        running(folder / "archive", "ARCHIVE") as archive,
    ):
        node = Node(folder, model, archive, port)
        series = _upload(source, max(4, kills), chance)
        before = _digests(source)
        with _sending(source, 2 * series, chance) as sent:
            node.start()
            seen = Counter(_kill_once(node, chance) for _ in range(kills))
            _wait(sent.is_set, "everything was sent")
        _wait(lambda: _is_idle(node), "the queue is empty")
        outcome = _outcome(source, archive, node) | {"changed_originals": _changed(before, _digests(source))}
        node.kill()
    harm = sum(outcome[name] for name in ("missing", "doubled", "strange", "changed_originals", "left_in_queue"))
    times = {"seconds": round(time.monotonic() - begun), "killed_while": dict(sorted(seen.items()))}
    return {"ok": harm == 0, "kills": kills, "images": len(before), **outcome, **times}


def _kill_once(node: Node, chance: random.Random) -> str:
    """Kill it some time after its start, or when images come to a state of its spool; gives what there was to do."""
    state = chance.choice(("", "", *PASSED))
    if state:
        _wait(lambda: node.told().get("status") == "ok", "the models are loaded")
        until = time.monotonic() + 10
        while state not in node.doing() and time.monotonic() < until:
            time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.3) if state else chance.uniform(0.2, 6))
    node.kill()
    doing = " ".join(node.doing()) or "nothing"
    node.start()
    return doing


@contextmanager
def _sending(source: Orthanc, series: list[str], chance: random.Random) -> Iterator[Event]:
    """Send the series one after the other, each until all of it was acknowledged; the event says that all were."""
    sent, stop = Event(), Event()

    def send() -> None:
        for name in series:
            while not stop.is_set() and not source.send(name, "NODE"):
                stop.wait(0.3)
            stop.wait(chance.uniform(0, 6))
        sent.set()

    thread = Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def _outcome(source: Orthanc, archive: Orthanc, node: Node) -> dict[str, int]:
    """Images without a derived one, derived ones too many, ones of another patient or study, and what is left."""
    originals = {tags["SOPInstanceUID"]: tags for tags in source.tags()}
    derived = archive.tags()
    by_source = Counter(_source_of(tags) for tags in derived)
    same = ("PatientID", "PatientName", "StudyInstanceUID", "Modality", "ImagePositionPatient")
    strange = [t for t in derived if any(t.get(k) != originals.get(_source_of(t), {}).get(k) for k in same)]
    there = node.images()
    return {
        "missing": len(originals.keys() - by_source.keys()),
        "doubled": sum(number - 1 for number in by_source.values()),
        "strange": len(strange),
        "left_in_queue": sum(there[state] for state in there if state != "done"),
    }


def _source_of(tags: dict[str, Any]) -> str:
    return str(tags["SourceImageSequence"][0]["ReferencedSOPInstanceUID"])


def _is_idle(node: Node) -> bool:
    there = node.images()
    return not any(there[state] for state in PASSED) and node.told().get("queue") == 0


def _is_image(path: Path) -> bool:
    return path.suffix == ".dcm" or path.parent.name == "incoming"


def _digests(orthanc: Orthanc) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in orthanc.files().items()}


def _changed(before: dict[str, str], after: dict[str, str]) -> int:
    return sum(before.get(name) != after.get(name) for name in before.keys() | after.keys())


def _upload(source: Orthanc, number: int, chance: random.Random) -> list[str]:
    """Series of noisy squares, CT and MR in turn, given to the sender; Orthanc's names of them."""
    noise, names = np.random.default_rng(chance.randrange(2**32)), []
    for index in range(number):
        dataset = pydicom.dcmread(str(get_testdata_file(("CT_small.dcm", "MR_small.dcm")[index % 2], download=False)))
        dataset.Rows = dataset.Columns = 192
        said = [str(index), str(noise.integers(2**32))]
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (generate_uid(entropy_srcs=[w, *said]) for w in "ab")
        dataset.PatientID = f"patient {index}"
        for number_in_series in range(SLICES):
            _change(dataset, number_in_series, noise)
            names.append(json.loads(source.ask("/instances", _encoded(dataset)))["ParentSeries"])
    return list(dict.fromkeys(names))


def _change(dataset: pydicom.Dataset, number: int, noise: np.random.Generator) -> None:
    """Make it the slice of this number."""
    image = np.full((192, 192), 200.0)
    image[40:150, 50:140] = 900 + 20 * number
    dataset.PixelData = (image + noise.normal(0, 40, image.shape)).clip(0, 4000).astype(np.int16).tobytes()
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[dataset.SeriesInstanceUID, str(number)])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber, dataset.ImagePositionPatient = number + 1, [0, 0, 3.0 * number]


def _encoded(dataset: pydicom.Dataset) -> bytes:
    from io import BytesIO

    file = BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def _smoke_model(path: Path) -> Path:
    """A model trained for seconds: what it makes does not matter here."""
    image = np.full((3, 64, 64), 0.2, np.float32)
    image[:, 20:44, 16:40] = 0.8
    noisy = image + np.random.default_rng(0).normal(0, 0.05, image.shape).astype(np.float32)
    return Denoiser.fit(noisy, preset="smoke", device="cpu").save(path)


def _wait(holds: Any, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"It did not come to this: {what}.")
        time.sleep(0.05)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(app())
