"""The first table of docs/benchmarks.md: in every task the default beside what it is to be held against."""

from __future__ import annotations

from benchmarks.findings import BOUND, GRAINY, GROWING, MAIN
from benchmarks.methods import METHODS
from benchmarks.records import OLD, Record, Table, ahead, has, mean
from benchmarks.tables import difference
from benchmarks.writing import markdown

LONG = "cpu-600s"
TARGET = 0.1  # dB; who is farther below the bound misses it
OWN_NOISE = "the radiographs' own noise is taken out, too, and is in the reference"
WHY = {
    **dict.fromkeys(("xray gaussian-6", "xray gaussian-15", "xray poisson-700", "xray uneven-15"), OWN_NOISE),
    "xray rician-15": "without an empty background it is not recognised, and what it adds to the dark stays",
    **dict.fromkeys(
        (GRAINY, "xray correlated-0.5", "xray zero-filled-0.5"),
        "the grain of radiographs is taken out, too, and is in the reference",
    ),
    **dict.fromkeys(
        ("xray zero-filled-rician-6", "xray zero-filled-rician-15"),
        "it and the grain of radiographs are taken for one, smoothed noise, and what it adds to the dark stays",
    ),
    "xray reduced correlated-1.2": "in part what is left of the grain",
    "xray reduced zero-filled-rician-6": "not recognised, as on radiographs: what it adds to the dark stays",
    **dict.fromkeys(
        (f"{data} zero-filled-rician-15" for data in ("colin27", "mr3t")),
        "in part weak signals, where what is learned from is only about like magnitudes",
    ),
    "colin27 zero-filled-rician-6": "a second opinion adds little there (0.08 dB at best), a student alone is behind",
    **dict.fromkeys(GROWING, "what it learns from is noisiest where the image is bright"),
}
UNKNOWN = "not known"
COLUMNS = ("task", "noisy", "best peer", "BM3D", "diffdenoise", "bound", "from BM3D", "from the bound", "why it misses")


def glance(budgets: dict[str, Table]) -> list[str]:
    """Headings, words and tables; nothing where nothing was measured."""
    said = {MAIN: "After three minutes of training on two CPU cores", LONG: "After ten minutes"}
    parts = [_of_budget(text, budgets.get(name, {})) for name, text in said.items()]
    found = [part for part in parts if part]
    return ["## At a glance", WORDS, *found] if found else []


WORDS = f"""\
PSNR in dB, inside the head or body. *Best peer*: the best self-supervised method of those that were measured there.
*BM3D* is told the noise where it is simulated, else it is given an estimate. *Bound*: a supervised network that starts
from the same weights, learns from clean images by L2 and has the same budget (by L1: from random weights). In brackets
the 95 % interval, paired by patient or slice; {OLD} marks what was measured before the method's last change. **Bold**:
more than {TARGET} dB below the bound.

*colin27*: slices of one head (T1); *colin27 volume*: the same with the slices between them; *xray*: chest radiographs
of 47 people; *xray reduced*: means of 3 x 3 of their pixels, nearly without their grain; *mr3t*: T1, T2 and FLAIR of
three people at 3 T; *b0*, *bold* and *ct*, a phantom, are noisy as measured. *gaussian-25*: white noise of 25/255;
*poisson-200*: counting noise, 200 counts at white; *gamma-30*: multiplicative noise of 30 looks (18 %);
*correlated-1.2*: 15/255, smoothed over 1.2 pixels; *zero-filled-0.5*: 15/255, a matrix interpolated to twice its size;
*uneven-15*: 15/255, three times as strong in the middle as in the corners; *rician-15*: 15/255 in each channel of a
magnitude image; *zero-filled-rician-6*: such an image of 6/255, interpolated."""


def _of_budget(said: str, table: Table) -> str:
    rows = [_row(table, task) for task in _by_data(table)]
    if not rows:
        return ""
    gaps = [gap for task in _by_data(table) if has(table, task, BOUND) and (gap := _gap(table, task)) is not None]
    near = sum(gap >= -TARGET for gap in gaps)
    count = f", at most {TARGET} dB below the bound by L2 in {near} of {len(gaps)} tasks" if gaps else ""
    return f"{said}{count}:\n\n{markdown(COLUMNS, rows)}"


def _by_data(table: Table) -> list[str]:
    """The tasks in which there is something beside the default, those of one data set together."""
    told = lambda task: _value(table[task], "ours") and _beside(table, task) and " faint " not in task  # noqa: E731
    there = [task for task in table if told(task)]
    data = list(dict.fromkeys(task.rsplit(" ", 1)[0] for task in there))
    return sorted(there, key=lambda task: data.index(task.rsplit(" ", 1)[0]))


def _beside(table: Table, task: str) -> list[str]:
    return [name for name in (_bm3d(table, task), _peer(table, task), _bound(table, task)) if name]


def _row(table: Table, task: str) -> list[str]:
    records, gap = table[task], _gap(table, task)
    peer, bm3d, bound = _peer(table, task), _bm3d(table, task), _bound(table, task)
    missed = gap is not None and gap < -TARGET
    from_bound = difference(records, "ours", bound) if bound else ""
    return [
        task,
        _value(records, "noisy"),
        f"{_value(records, peer)}, {METHODS[peer].title}" if peer else "",
        _value(records, bm3d) + ("" if bm3d == "bm3d-true" else ", estimated") if bm3d else "",
        _value(records, "ours"),
        _value(records, bound) + ("" if bound == BOUND else ", by L1") if bound else "",
        difference(records, "ours", bm3d) if bm3d else "",
        f"**{from_bound}**" if missed else from_bound,
        _why(records, task) if missed else "",
    ]


def _why(records: dict[str, Record], task: str) -> str:
    others = {"ours-grain": "left in", "ours-told": "told the noise"}
    said = [f"; {words}: {difference(records, name, BOUND)}" for name, words in others.items() if name in records]
    return WHY.get(task, UNKNOWN) + "".join(said)


def _value(records: dict[str, Record], method: str) -> str:
    value = mean(records.get(method, {}), "psnr_foreground")
    return "" if value is None else f"{value:.2f}{OLD * bool(records[method].get('outdated'))}"


def _gap(table: Table, task: str) -> float | None:
    bound = _bound(table, task)
    return ahead(table, task, "ours", bound) if bound and has(table, task, "ours") else None


def _bound(table: Table, task: str) -> str | None:
    return next((name for name in (BOUND, "supervised") if has(table, task, name)), None)


def _bm3d(table: Table, task: str) -> str | None:
    return next((name for name in ("bm3d-true", "bm3d") if has(table, task, name)), None)


def _peer(table: Table, task: str) -> str | None:
    peers = {
        name: value
        for name, record in table[task].items()
        if METHODS[name].family == "self-supervised" and (value := mean(record, "psnr_foreground")) is not None
    }
    return max(peers, key=peers.__getitem__) if peers else None
