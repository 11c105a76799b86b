"""What the tables of docs/benchmarks.md show, in words: each figure is read from the results when the page is written.

A sentence whose cells are not there is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

import numpy as np

from benchmarks.methods import METHODS
from benchmarks.records import MissingError, Table, ahead, by_patient, has, is_old, mean, record_of

MAIN, HALF_AN_HOUR = "cpu-180s", "cpu-1800s"
WHITE = ("colin27 gaussian-6", "colin27 gaussian-25", "colin27 gaussian-50", "xray gaussian-25")
CORRELATED, ZERO_FILLED = "colin27 correlated-1.2", "colin27 zero-filled-0.5"
UNEVEN = "colin27 uneven-15"
POISSON, RADIOGRAPHS, RICIAN = "xray poisson-200", "xray gaussian-25", "mr3t rician-15"
GRAINY = "xray correlated-1.2"
GROWING = ("colin27 gamma-30", "xray gamma-30", "mr3t gamma-30")
CT, B0, BOLD, LOW_FIELD = "ct measured, seen", "b0 measured, seen", "bold measured, seen", "lowfield measured, seen"
FAINT, FAINT_XRAY = "colin27 faint gaussian-25", "xray faint gaussian-25"
VOLUMES = tuple(f"colin27 volume {noise}" for noise in ("gaussian-25", "correlated-1.2", "rician-15"))
BOUND = "supervised-l2"
TOLD = ("ours", "bm3d-true")
Observed = dict[str, dict[str, Any]]  # by insert: an observer's figures


def findings(budgets: dict[str, Table]) -> str:
    """The text."""
    table = budgets.get(MAIN, {})
    paragraphs: dict[str, Sequence[Callable[[Table], str]]] = {
        "Against the bound.": [_bound, _loss, _start, _grain, _reduced],
        "Against the peers.": [_peers, _told],
        "Correlated noise.": [_textures, _grainy, _ct],
        "Noise that varies over the image.": [_uneven],
        "Noise that grows in proportion to brightness.": [_growing],
        "On measured noise.": [_weak, _series, _low_field],
        "Volumes.": [_volumes, _thin],
        "Faint things.": [_faint, _faint_radiographs],
        "The whole image.": [_whole],
        "Rows that need a word.": [_paper, lambda _: _paper_small(budgets), _sure, lambda _: _n2v(budgets)],
    }
    return "\n\n".join(text for head, parts in paragraphs.items() if (text := _paragraph(head, parts, table)))


def _paragraph(head: str, parts: Sequence[Callable[[Table], str]], table: Table) -> str:
    said = []
    for part in parts:
        try:
            said.append(part(table))
        except MissingError:
            continue
    return fill(f"*{head}* {' '.join(said)}", 118, break_on_hyphens=False) if said else ""


def _bound(table: Table) -> str:
    gaps = {task: ahead(table, task, "ours", BOUND) for task in table if _are_there(table, task, "ours", BOUND)}
    if not gaps:
        raise MissingError
    return (
        "The default starts from weights that learned from synthetic images (start.md), the peers and *supervised, "
        "same budget* from random ones; and it learns by L2, which PSNR measures, they by L1, as the paper's student. "
        "So the bound to be held against is a supervised network that begins there, too, and learns by L2. From it "
        f"the default is {min(gaps.values()):+.2f} to {max(gaps.values()):+.2f} dB, {np.median([*gaps.values()]):+.2f} "
        "in the median over the tasks. The network is asked alone, the default also for a second opinion, where that "
        "is worth its time: so it can be ahead. Colin27 is one head, and clean slices of it may tell a network of the "
        "others what noisy ones do not; at 3 T, and on radiographs, those that are tested are others than those that "
        "are trained on."
    )


def _loss(table: Table) -> str:
    task, other = "colin27 gaussian-25", "supervised-start"
    if is_old(table, task, BOUND) != is_old(table, task, other):
        raise MissingError  # they did not start alike
    return f"By L1 (*supervised, from our start*) it is {ahead(table, task, BOUND, other):.2f} dB lower at 25/255."


def _start(table: Table) -> str:
    task = "colin27 gaussian-25"
    if any(is_old(table, task, name) for name in ("ours", "scratch")):
        raise MissingError  # one of them is of another time
    gain = ahead(table, task, "ours", "scratch")
    return f"The start is worth {gain:.2f} dB to the default at 25/255 (*from random weights*)."


def _grain(table: Table) -> str:
    told = dict.fromkeys((POISSON, RADIOGRAPHS), "")
    for task in told:
        if not table.get(task, {}).get("ours-told", {"outdated": True}).get("outdated"):  # else of another day
            told[task] = f", and {ahead(table, task, BOUND, 'ours-told'):.2f} dB where the noise is told"
    white = f" (at 25/255 the gap is {ahead(table, RADIOGRAPHS, BOUND, 'ours'):.2f} dB{told[RADIOGRAPHS]})"
    return (
        "Radiographs have a grain of their own: it is in the reference, counts as noise where noise is measured, and "
        f"is taken out{white}. Not so where the values are whole counts, whose noise is known exactly (docs/noise.md), "
        "as with this counting noise: there the gap is "
        f"{ahead(table, POISSON, BOUND, 'ours'):.2f} dB{told[POISSON]}."
    )


def _reduced(table: Table) -> str:
    """What of the gap on radiographs is of their grain: beside it that on means of their pixels."""
    noises = [task.removeprefix("xray reduced ") for task in table if task.startswith("xray reduced ")]
    both = [
        noise
        for noise in noises
        if all(_are_there(table, f"{data} {noise}", "ours", BOUND) for data in ("xray", "xray reduced"))
    ]
    if not both:
        raise MissingError
    gap = lambda data, noise: f"{ahead(table, f'{data} {noise}', 'ours', BOUND):+.2f}"  # noqa: E731
    told = ", ".join(f"{noise}: {gap('xray reduced', noise)} ({gap('xray', noise)})" for noise in both)
    return (
        "How much of that is the grain shows on means of 3 x 3 of their pixels, which have little of it left and get "
        f"the noise after that (*xray reduced*). From the bound, and in brackets on whole radiographs: {told} dB."
    )


def _peers(table: Table) -> str:
    gaps = {
        f"{METHODS[name].title} on {task}": ahead(table, task, name, "ours")
        for task, records in table.items()
        for name in records
        if METHODS[name].family == "self-supervised" and _are_there(table, task, name, "ours")
    }
    if not gaps:
        raise MissingError
    behind = ", ".join(f"{what} ({gap:+.2f} dB)" for what, gap in gaps.items() if gap > 0)
    said = "Of the self-supervised peers measured here none is ahead of the default"
    return f"{said}, but for {behind}." if behind else f"{said}."


def _told(table: Table) -> str:
    gaps = {task: ahead(table, task, "ours", "bm3d-true") for task in table if _are_there(table, task, *TOLD)}
    if not gaps:
        raise MissingError
    behind = {task: gap for task, gap in gaps.items() if gap < 0}
    ahead_on = [task for task in gaps if task not in behind]
    said = "From a BM3D that is told the noise it is "
    if ahead_on:
        least = min(ahead_on, key=gaps.__getitem__)
        said += f"{gaps[least]:+.2f} dB, on {least}, or more" + (", but for " if behind else "")
    named = ", ".join(f"{task} ({gap:+.2f} dB)" for task, gap in behind.items())
    return f"{said}{named}; the table says why it misses there." if behind else f"{said}."


def _textures(table: Table) -> str:
    measured = [ahead(table, task, "ours", "bm3d") for task in (CORRELATED, ZERO_FILLED)]
    return (
        "The default finds the texture of the noise (docs/noise.md) and is "
        f"{_span(measured)} above a BM3D that takes it for white; one that is told the exact spectrum is in the "
        "table above."
    )


def _grainy(table: Table) -> str:
    return (
        f"On radiographs it is {ahead(table, GRAINY, BOUND, 'ours'):.2f} dB behind the supervised network: their "
        "grain is white noise beside the correlated one. It is told apart (docs/noise.md), but taken out, too, where "
        "the supervised network keeps it, for there is nothing else at high frequencies. A scan does not tell whose "
        'it is. With `grain = "keep"` (*grain kept*) it is left in, and the default '
        f"{ahead(table, GRAINY, BOUND, 'ours-grain'):.2f} dB behind."
    )


def _growing(table: Table) -> str:
    behind = [ahead(table, task, BOUND, "ours") for task in GROWING]
    return (
        "The default finds kind and level (docs/noise.md), and what it adds to the images follows them at each pixel. "
        f"Yet it is {_span(behind)} behind the supervised network (gamma-30): what it learns from is noisy, and most "
        "so where the image is bright (docs/tried.md)."
    )


def _uneven(table: Table) -> str:
    return (
        "Where it is three times as strong in the middle of the image as in the corners the default finds a map of it "
        "(docs/noise.md), and is "
        f"{ahead(table, UNEVEN, 'ours', 'bm3d'):.1f} dB above a BM3D that is given one estimated level, "
        f"{ahead(table, UNEVEN, 'ours', 'bm3d-true'):+.2f} dB from one that is told the map."
    )


def _ct(table: Table) -> str:
    return (
        "On the CT phantom, whose noise is that of filtered back-projection, it is "
        f"{ahead(table, CT, 'ours', 'bm3d'):.1f} dB above "
        f"BM3D and {ahead(table, CT, 'ours', 'noisy'):.1f} dB above the images as they are: a flat background "
        "shows what is "
        "taken away, and flatters. What counts on it are the inserts (the observer's table below); with ten "
        "images with and "
        "ten without, of a tenth of the dose, no method can be told from another there."
    )


def _weak(table: Table) -> str:
    gains = {
        task: [
            ahead(table, task, name, "noisy")
            for name in table.get(task, {})
            if name not in ("noisy", "mppca", "ours-series") and has(table, task, name)
        ]
        for task in (B0, BOLD)
    }
    if not all(gains.values()):
        raise MissingError
    return (
        "On the echo-planar scans noise is weak, and the reference differs from a scan mostly by what moved: no "
        "method that looks at a frame alone gains "
        f"more than {max(gains[B0]):.2f} dB on b0 and {max(gains[BOLD]):.2f} dB on BOLD, and some lose. The "
        "default, which tries "
        "what it takes away on the repetition and holds it back (docs/method.md, section 12), gains "
        f"{ahead(table, B0, 'ours', 'noisy'):.2f} and {ahead(table, BOLD, 'ours', 'noisy'):.2f} dB."
    )


def _series(table: Table) -> str:
    return (
        "Given the BOLD frames as a series, as they would come to a user, the default gains "
        f"{ahead(table, BOLD, 'ours-series', 'noisy'):.2f} dB and MP-PCA {ahead(table, BOLD, 'mppca', 'noisy'):.2f}: "
        "what frames share tells more than any frame. But the reference, a mean of later frames, takes all that "
        "changes with time for an error, and the best of all would be the mean of the frames: how much of a change is "
        "kept is measured on simulated series (study r of docs/ablations.md)."
    )


def _low_field(table: Table) -> str:
    said = [
        f"{METHODS[name].title} {_residual(table, name, 'level'):.2f} and {_residual(table, name, 'neighbours'):+.2f}"
        for name in ("ours", "bm3d", "nlm")
    ]
    return (
        "At 0.055 T there is no reference. What is taken away there, as a share of the measured noise, and its "
        "correlation "
        f"between neighbours: {', '.join(said)}."
    )


def _residual(table: Table, name: str, what: str) -> float:
    return float(np.mean([image["residual"][what] for image in record_of(table, LOW_FIELD, name)["images"]]))


def _volumes(table: Table) -> str:
    bound = [ahead(table, task, "ours", BOUND) for task in VOLUMES]
    bm3d = [ahead(table, task, "ours", "bm3d-true") for task in VOLUMES]
    each = lambda values: ", ".join(f"{value:+.2f}" for value in values)  # noqa: E731
    return (
        "*colin27 volume* has the same slices as colin27, and those between them, as a volume: there the default "
        f"sees the slices above and below. It is {each(bound)} dB from the bound, which sees one slice, on white, "
        f"correlated and Rician noise, and {each(bm3d)} dB from a BM3D that is told the noise."
    )


def _thin(table: Table) -> str:
    kept = {
        name: float(np.mean([one["kept"] for one in record_of(table, VOLUMES[0], name)["lesions"]]))
        for name in ("ours", BOUND, "bm3d-true")
    }
    return (
        f"The lesions inserted here lie in a single slice each; of those {kept['ours']:.2f} is kept at 25/255, for the "
        f"neighbours do not have them ({kept[BOUND]:.2f} by the bound, {kept['bm3d-true']:.2f} by BM3D). See "
        "docs/method.md, section 12, for lesions that go on for three."
    )


def _faint(table: Table) -> str:
    seen, added, kept = _observed(table, FAINT)
    return (
        f"Blobs with a standard deviation of {', '.join(seen)}, each as faint as its size allows (an ideal observer of "
        "white noise of 25/255 has an AUC of 0.86), lie in a slice of colin27, in 60 noisy images and not in 60 "
        f"others. A channelised Hotelling observer has an AUC of {_each(seen, 'auc')} on them as they are; {added}. Of "
        f"their contrast {kept}."
    )


def _faint_radiographs(table: Table) -> str:
    seen, added, kept = _observed(table, FAINT_XRAY)
    return (
        f"In the middle of a radiograph (40 images with them and 40 without) it has {_each(seen, 'auc')}; {added}; "
        f"{kept}."
    )


def _observed(table: Table, task: str) -> tuple[Observed, str, str]:
    """What the observer sees in the noisy images; what methods add to its AUC; how much contrast they keep."""
    named = {"ours": "the default", "bm3d-true": "BM3D with the noise told", BOUND: "the bound"}
    seen = {name: record_of(table, task, name)["observer"] for name in ("noisy", *named)}

    def over_noisy(name: str) -> str:
        intervals = ((one["over_noisy"], *one["over_noisy_interval"]) for one in seen[name].values())
        return ", ".join(f"{value:+.3f} ({low:+.3f}, {high:+.3f})" for value, low, high in intervals)

    added = "; ".join(f"{said} adds {over_noisy(name)}" for name, said in named.items())
    kept = ", ".join(f"{said} keeps {_each(seen[name], 'contrast')}" for name, said in named.items())
    return seen["noisy"], added, kept


def _each(seen: Observed, what: str) -> str:
    return ", ".join(f"{one[what]:.2f}" for one in seen.values())


def _whole(table: Table) -> str:
    tasks = ("colin27 gaussian-25", "colin27 gaussian-50", "xray gaussian-25", RICIAN)

    def over(of: str) -> str:
        return ", ".join(f"{ahead(table, task, 'ours', of, 'psnr_fastmri'):+.2f}" for task in tasks)

    return (
        "Most figures here are of the head or body. Over the whole image, as fastMRI has it (its table is below), the "
        "empty background counts as much: the supervised network learns from clean images that it is exactly empty, "
        "BM3D flattens it, and the default, which has seen noise alone, leaves a faint ripple, most of which its "
        f"second opinion takes off. From BM3D with the estimated level it is then {over('bm3d')} dB, from the "
        f"supervised network by L2 {over(BOUND)} dB (colin27 at 25 and 50/255, radiographs at "
        "25/255, 3 T Rician). Rician noise lifts the dark, and its floor is the largest error there is in the whole "
        "image: the default takes it off, and so does *BM3D, noise estimated*, by the same estimate; *noise told* has "
        "an inverse of its own; the supervised network learns it; all others leave it."
    )


def _paper(table: Table) -> str:
    record = record_of(table, WHITE[0], "paper")
    return (
        "The *paper preset* has networks of its own size: on two cores they get the ten steps that each stage "
        "gets at least, "
        f"in {record['train_seconds']:.0f} seconds, and what has learned for ten steps is worth nothing. It was "
        "tried on one "
        "task, and waits for a GPU."
    )


def _paper_small(budgets: dict[str, Table]) -> str:
    task, longer = "colin27 gaussian-25", budgets.get(HALF_AN_HOUR, {})
    table = budgets.get(MAIN, {})
    images = [image for image in record_of(longer, task, "paper-small")["images"] if "bands" in image]
    dark = 255 * float(np.nanmean(np.array([image["bias"][0] for image in images], float)))
    kept = float(np.mean([image["bands"]["all"]["kept"] for image in images]))
    value = lambda of, method: f"{mean(record_of(of, task, method), 'psnr_foreground'):.2f}"  # noqa: E731
    return (
        f"*As published, small networks* has {value(table, 'paper-small')} dB on {task} after three minutes, and "
        f"{value(longer, 'paper-small')} dB after half an hour, where the noisy images have {value(table, 'noisy')}, "
        f"three stages with our settings {value(table, 'taught')} after three minutes and the default "
        f"{value(table, 'ours')}. What its two chains agree on is wrong in brightness (the dark is off by "
        f"{dark:+.0f}/255), as predictions of eps from pure noise are before they have learned for long (study d of "
        f"docs/ablations.md), and keeps {kept:.2f} of the noise. Longer than that has not been tried."
    )


def _sure(table: Table) -> str:
    record_of(table, CORRELATED, "sure")
    return (
        "SURE is given one level for white noise: where noise is correlated, or weaker in the background "
        "(Rician), that is too "
        "high somewhere, and nothing holds it: it diverges."
    )


def _n2v(budgets: dict[str, Table]) -> str:
    task = "colin27 gaussian-25"
    found = []
    for name in ("cpu-20s", MAIN, "cpu-960s"):
        record = record_of(budgets.get(name, {}), task, "n2v")
        dark = 255 * float(np.nanmean(np.array([image["bias"][0] for image in record["images"]], float)))
        value = np.mean(list(by_patient(record, "psnr_foreground").values()))
        found.append(f"{value:.2f} dB after {record['train_seconds']:.0f} s (the dark off by {dark:+.0f}/255)")
    gains = [ahead(budgets.get(MAIN, {}), one, "n2v-falling", "n2v") for one in WHITE]
    return (
        f"Noise2Void, as CAREamics comes, has {', '.join(found)} on {task}: its brightness drifts while it trains, "
        "and its learning rate falls only when a validation loss stalls, which three minutes are too short for. The "
        "last is about the length of its tutorials. With the other schedule that CAREamics has, falling by a factor "
        f"each epoch to a fiftieth when the time is up, it is {_span(gains)} better in three minutes on white noise."
    )


def _are_there(table: Table, task: str, *methods: str) -> bool:
    return all(has(table, task, method) for method in methods)


def _span(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f} dB"
