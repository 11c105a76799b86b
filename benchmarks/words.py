"""What docs/benchmarks.md says that no result decides."""

HEAD = """\
# Benchmark

Every method on the same noisy scans, with the same noise seeds, the same time to train in on the same machine, and the
same measures. No method sees a reference. The commands themselves write this page:

```
make bench                                             # eight core tasks, on a CPU; goes on where it was stopped
python -m benchmarks.run n2v ours --task gaussian-25   # some methods, some tasks
python -m benchmarks.run --device cuda --full --minutes 9
python -m benchmarks.run --own SCANS --noise gaussian-15   # your own clean scans, a sub-folder a patient
```

(In the environment of the peers: `make bench-env`, then `.venv-bench/bin/python`. The images are not part of the
project: `--data FOLDER` says where they lie, `benchmarks/datasets.py` which files are looked for, and
[the results side by side](benchmarks/pictures.md) whose they are. Cells that have figures in `benchmarks/results` are
not computed again; `--results NEW` begins anew.)
"""

HOW = """\
**What is the same for all.** A method gets a folder of noisy scans to train on, a time budget, and scans to denoise;
it runs alone, in a process of its own. Train and test come from different patients (*inductive*); where one subject is
all there is, from blocks of slices 10 mm apart, and no claim about patients is made. In tasks marked *seen* the noisy
test scans themselves are trained on (*transductive*), as `diffdenoise run` does. A level that a method needs is
estimated by this project's estimator from the noisy scan (from several that show the same object, as in b0);
*noise told* marks the rows that are given the truth. *diffdenoise* is the default preset, `fast`; *three stages* the
preset `cpu` (on a GPU `gpu`): blind-spot network, diffusion and student.

Methods that are a loss (Neighbor2Neighbor, R2R, SURE, UNSURE, Noise2Self) and the supervised bound all train
this project's student network, with its crops and its optimiser, so that only the loss differs; Noise2Void is
CAREamics as it comes, and once more with a learning rate that has fallen when the time is up. The bound is trained on
clean images of the other patients. They all denoise by the mean over eight turns of a slice, or over four or two where
eight take long beside the training, as this project's default does (docs/method.md, section 12): two on radiographs
after three minutes (the default and the bound by L2; the others' rows there are older, by one pass), four after ten.
The default's second opinion, by collaborative filtering, is its own: none of them is given one.

**What is measured.** PSNR and SSIM inside the head or body (Otsu's mask of the reference), data range 1, SSIM with a
uniform 7x7 window; *fastMRI* has the whole image and the maximum of the reference scan as range. *Noise kept* is the
slope of the error on the noise, to be read beside MSE/s2, which is what an ideal non-blind estimate keeps. *Lesions* is
the contrast kept of inserted dots, lines and disks of 1 to 9 pixels that no training image has (1: all). *Bias* is the
largest mean error in eight bins of brightness, in units of 1/255. *AUC* is how often an observer (channelised
Hotelling, who has seen the other images and knows where to look) tells an image with a faint insert from one without: 1
always, 0.5 by chance. Intervals are 95 %, bootstrapped over patients (or, where one subject is all there is, over
slices or repetitions); of fewer than five there is none: a mean without ± says nothing of chance.

**What was tuned on what is tested.** No figure here is of data that nobody had looked at. The estimators of the noise,
which the default and all methods that need a level use, were tuned on axial slices of Colin27, on the pairs of phantom
scans and on one radiograph (study j in [ablations.md](ablations.md)): of those the slices 110, 114 and 118 of Colin27
and all of *phantoms* (not in the tables yet) are tested; the radiograph's patient is among the 35 that are trained on,
none of the 12 that are tested. How the default trains, and which patches its second opinion counts as alike, was tried
by hand on the same data sets (docs/method.md, section 12), without keeping from it all that is tested here: the same
slices of Colin27 were looked at. That two turns of a slice may take longer beside the training than four or eight was
decided after the radiographs here had just missed them, and that a second opinion may take two thirds of the training's
time when they were the worst of all; what both bring was measured on patients of the training part. That a start for
noise of one kind is better than one for all was tried by hand on MNI152, other slices of Colin27 and patients of the
training part; how strong the noise is that each of the eight is for was set down before. That brightness is read off 3
x 3 pixels, not 5 x 5, was decided on the very slices that colin27 gamma-30 tests; by them, and by noisy slices of the
training parts whose clean ones were looked up, which places count as flat when a level is held down. How finely shares
of white noise beside correlated noise are told apart, and what such a share has to gain, was decided on the noisy
radiographs of the training part of xray correlated-1.2 and on the images of study j; that no second opinion is asked
beside grain that is kept, on those that this task tests. How the floor of Rician noise is taken off (four numbers in
`noise/floor.py`) was decided on the very slices that rician-15 and zero-filled-rician-15 test, and so was how z is
drawn where such noise is correlated (three numbers in `noise/phases.py`; 3 T was looked at afterwards, once). That a
slice is believed its air was found on those of zero-filled-rician-6. How a texture is read off scans that repeat one
another was decided on the images of *ct* and *phantoms*; that noise of CT goes by its rays was found on those of *ct*,
its numbers (`noise/rays.py`) on these and on clinical slices; alpha for few slices, and when a training on them ends,
on slices of Colin27 that are tested here. None of these tasks has so few.

**Days and machines.** Three minutes have room for more steps on one machine than on another: the same cell differed
from day to day by as much as the default is ahead or behind. In the tasks of single slices with simulated noise the
default (*diffdenoise*) and *supervised, from our start, L2* were measured on one machine, on one day or on two that
follow each other; rows of others may be of a slower or a faster day. The rows marked ° are older. The last change of
the default that concerns all tasks is of 2026-11-30: its level is held down, before the training, to what flat places
bear out (docs/noise.md), as is the level by which the share of its second opinion is found, and the start for white
noise of 5 % has learned for longer. Since then shares of white noise beside correlated noise are told apart more
finely, filtered k-space is among the textures, and beside grain that is kept no second opinion is asked: *diffdenoise*
and *grain kept* on xray correlated-1.2 are of after what concerns them. What tells Rician noise, how z is drawn like
it, and how its floor is taken off, changed later that day, and how its level is held down on 2026-12-01: colin27 and
mr3t rician-15 were measured anew after both. All tasks of zero-filled Rician noise are of after z is drawn by phases,
and of after those are found once for a slice (docs/method.md, section 9), colin27 volume rician-15 of the former. *ct*
is of 2026-12-01, after its noise was drawn by the rays. In the other tasks what is found of the noise is as before.
Other work took 7 to 8 % of the machine while the bound on xray gaussian-15 and the default on *ct* were trained, 4 %
while *as published, small networks* was for half an hour, and 3 % while the default trained for ten minutes on mr3t
rician-15.

Older rows of other methods that begin at a start of ours (*supervised, from our start*, *noise told*) began at starts
that had learned for less long, or at one for all noise (docs/start.md). Rows marked ° of methods that are a loss are by
one pass over each slice, not the mean over eight turns. *Noise2Void, falling rate* is older, too: the epoch that it
times was timed together with imports and setting up, so that its rate falls too steeply.

Measured at 25/255 alone so far, and to be had on the other tasks by name (`python -m benchmarks.run unsure n2self zsn2n
puca laine scratch`), are rows that would make of a few hours of `make bench` most of a day. So is the bound by L2
(`python -m benchmarks.run supervised-l2`), measured where single slices have simulated noise. Still to come:
`ensemble paper-srds`, `supervised-long` (the bound after ten budgets), longer budgets for all, a GPU.

*As published, small networks* (`paper-small`) is what the preset `paper` decides (PUCA, a diffusion model of the noisy
image that is shown the whole condition, one symmetric pair, a student by L1 and from random weights) with networks and
steps of the preset `cpu`, measured in two tasks. Three minutes are no budget for it: to sample one slice takes most of
a minute, and the four that a student is taught at least are all that the time has room for, and more. What is left are
26 steps for the diffusion model and ten for the student, which ends below the noisy image. In one task it was given
half an hour, too (above). That says nothing of where this road ends.
"""
