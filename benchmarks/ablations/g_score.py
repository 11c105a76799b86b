"""Study g: the paper's claim about scores, where everything is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ablations.lab import Lab
from benchmarks.writing import markdown, panels
from diffdenoise.diffusion.sampling import srds
from diffdenoise.diffusion.schedule import cosine_schedule

TITLE = "The score claim, in closed form"
QUESTION = """The paper argues that, given a strong condition, grad log q(x_noisy|x_c) ~ grad log p(x|x_c). One pixel
is drawn from a mixture of two tissues (means 0.35 and 0.65, standard deviation 0.05), the noise has s = 25/255, and
x_c = x + tau e + rho n with e standard normal and n the pixel's noise; rho = 0 is a blind condition without a leak.
Both posteriors are mixtures of two Gaussians, so scores, the ideal network and its DDIM chains are exact. No
training, no seed that matters."""
FINDING = """The claim does not hold where it would matter. The scores agree in direction at a diffusion noise t of 1 s
and more, but q's is too short by (v + t^2) / (v + s^2 + t^2): to 1 % at 10 s, by half at 1 s, and by a factor of 6 to
27 at the end of the chain; a *stronger* condition (small tau) makes it worse. With two possible tissues the directions
part there as well, to a cosine of 0.86. What p and q do share, for a blind condition, is the mean, and that is what
SRDS estimates: chains leave 0.7 to 1.4 s of noise at 10 steps, pairs 0 to 0.2 s, most of that where the posterior has
two modes. One step with the ideal network is the mean itself. A leak (rho > 0) breaks the shared mean: with rho = 0.3
and a strong condition the mean of q is three times further from x than that of p."""
MEANS, SPREAD, S = torch.tensor([0.35, 0.65], dtype=torch.float64), 0.05, 25 / 255
TAUS, RHOS, TIMES = (0.02, 0.05, 0.1, 0.3), (0.0, 0.1, 0.3), (0.0, 0.3, 1.0, 3.0, 10.0)
COUNT = 20_000
STEPS = (1, 2, 10, 50)


@dataclass(frozen=True)
class Mixture:
    """For each of N conditions a mixture of Gaussians; all fields (N, 2)."""

    weights: Tensor
    means: Tensor
    variances: Tensor

    def widened(self, variance: float) -> Mixture:
        """After Gaussian noise of this variance."""
        return Mixture(self.weights, self.means, self.variances + variance)

    def score(self, z: Tensor) -> Tensor:
        """Gradient of the log density at z, (N,)."""
        pull = (self.means - z[:, None]) / self.variances
        return (self.responsibilities(z) * pull).sum(1)

    def responsibilities(self, z: Tensor) -> Tensor:
        """Posterior weights of the components at z, (N, 2)."""
        logs = self.weights.log() - 0.5 * self.variances.log() - (z[:, None] - self.means) ** 2 / (2 * self.variances)
        return logs.softmax(1)

    def mean(self) -> Tensor:
        """(N,)."""
        return (self.weights * self.means).sum(1)

    def denoised(self, x_t: Tensor, abar_t: Tensor) -> Tensor:
        """E[x_0 | x_t] for x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps: the ideal network, (N,)."""
        alpha, noise = abar_t.sqrt(), 1 - abar_t
        seen = Mixture(self.weights, alpha * self.means, alpha**2 * self.variances + noise)
        gain = alpha * self.variances / seen.variances
        parts = self.means + gain * (x_t[:, None] - seen.means)
        return (seen.responsibilities(x_t) * parts).sum(1)


def run(lab: Lab) -> dict[str, Any]:
    """Scores over tau and time; leaks over rho; chains over steps."""
    scores = [score_row(tau, time) for tau in TAUS for time in TIMES]
    leaks = [leak_row(tau, rho) for tau in TAUS for rho in RHOS]
    return {"scores": scores, "leaks": leaks, "chains": [chain_row(tau, steps) for tau in TAUS for steps in STEPS]}


def draw(tau: float, rho: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x, n, x_c, which tissue), each (COUNT,)."""
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(2, (COUNT,), generator=generator)
    a, n, e = torch.randn(3, COUNT, generator=generator, dtype=torch.float64)
    x, n = MEANS[which] + SPREAD * a, S * n
    return x, n, x + tau * e + rho * n, which


def posteriors(x_c: Tensor, tau: float, rho: float) -> tuple[Mixture, Mixture]:
    """(p(x | x_c), q(x_noisy | x_c))."""
    seen = SPREAD**2 + tau**2 + rho**2 * S**2
    distance = x_c[:, None] - MEANS
    weights = (-(distance**2) / (2 * seen)).softmax(1)
    noisy = SPREAD**2 + S**2
    both = SPREAD**2 + rho * S**2  # covariance of x_noisy and x_c
    p = Mixture(weights, MEANS + SPREAD**2 / seen * distance, torch.full_like(distance, SPREAD**2 - SPREAD**4 / seen))
    q = Mixture(weights, MEANS + both / seen * distance, torch.full_like(distance, noisy - both**2 / seen))
    return p, q


def score_row(tau: float, time: float) -> dict[str, float]:
    """Both scores after noise of `time` s, compared at draws from q: cosine, size and relative error."""
    x, n, x_c, _ = draw(tau, 0)
    p, q = (part.widened((time * S) ** 2) for part in posteriors(x_c, tau, 0))
    z = x + n + time * S * torch.randn(COUNT, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    of_p, of_q = p.score(z), q.score(z)
    return {
        "tau": tau,
        "time": time,
        "cosine": float((of_p @ of_q) / (of_p.norm() * of_q.norm())),
        "size": float((of_p @ of_q) / (of_p @ of_p)),
        "gaussian": float((posteriors(x_c, tau, 0)[0].variances.mean() + (time * S) ** 2) / q.variances.mean()),
        "error": float((of_p - of_q).norm() / of_p.norm()),
    }


def leak_row(tau: float, rho: float) -> dict[str, float]:
    """The means of both posteriors as estimates of x."""
    x, n, x_c, _ = draw(tau, rho)
    p, q = posteriors(x_c, tau, rho)
    rms = lambda estimate: float((estimate - x).square().mean().sqrt() / S)  # noqa: E731
    kept = float((q.mean() - x) @ n / (n @ n))
    return {"tau": tau, "rho": rho, "p": rms(p.mean()), "q": rms(q.mean()), "x_c": rms(x_c), "kept": kept}


def chain_row(tau: float, steps: int) -> dict[str, float]:
    """One chain and a pair with the ideal network of q, against q's own mean, in units of s."""
    _, _, x_c, _ = draw(tau, 0)
    _, q = posteriors(x_c, tau, 0)
    scaled = Mixture(q.weights, (q.means - 0.5) / 0.5, q.variances / 0.25)
    abar = cosine_schedule()

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        return scaled.denoised(x_t.flatten(), abar[t[0]]).reshape(x_t.shape)

    eps = torch.randn(COUNT, 1, 1, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mean, spread = srds(network, eps, abar, steps, "x0")
    pair, single = ((0.5 + 0.5 * part).flatten() for part in (mean, mean + spread))
    rms = lambda estimate: float((estimate - q.mean()).square().mean().sqrt() / S)  # noqa: E731
    return {"tau": tau, "steps": steps, "single": rms(single), "pair": rms(pair), "true": float(spread_of(q) / S)}


def spread_of(q: Mixture) -> float:
    """Standard deviation of draws from q around its mean: what a perfect sampler leaves."""
    second = (q.weights * (q.variances + q.means**2)).sum(1) - q.mean() ** 2
    return float(second.mean().sqrt())


def tables(result: dict[str, Any]) -> str:
    """Scores, leaks, chains."""
    scores = [
        [
            f"{r['tau'] / S:.1f} s",
            f"{r['time']:g} s",
            f"{r['cosine']:.3f}",
            f"{r['size']:.3f}",
            f"{r['gaussian']:.3f}",
            f"{r['error']:.0%}",
        ]
        for r in result["scores"]
    ]
    leaks = [
        [
            f"{r['tau'] / S:.1f} s",
            r["rho"],
            f"{r['x_c']:.2f} s",
            f"{r['p']:.2f} s",
            f"{r['q']:.2f} s",
            f"{r['kept']:+.2f}",
        ]
        for r in result["leaks"]
    ]
    chains = [
        [f"{r['tau'] / S:.1f} s", r["steps"], f"{r['single']:.3f} s", f"{r['pair']:.3f} s", f"{r['true']:.3f} s"]
        for r in result["chains"]
    ]
    return "\n\n".join(
        [
            "The scores of q and p at diffusion noise of so many s (drawn from q): *size* is the slope of q's score on"
            " p's, *one Gaussian* what it would be with one mode, (v + t^2) / (v + s^2 + t^2).",
            markdown(["tau", "diffusion noise", "cosine", "size", "one Gaussian", "relative error"], scores),
            "Root mean square errors as estimates of x: the condition and the means of p and q (SRDS aims at q's).",
            markdown(["tau", "rho (leak)", "x_c", "E[x given x_c]", "E[x_noisy given x_c]", "noise kept"], leaks),
            "DDIM chains with the ideal network, their distance from the mean of q; and the spread of q itself:",
            markdown(["tau", "steps", "one chain", "pair", "a perfect sampler"], chains),
        ]
    )


def plot(result: dict[str, Any], path: Path) -> None:
    """Size of the score over time; residue of chain and pair over steps."""
    with panels(path, 2) as axes:
        for number, tau in enumerate(TAUS):
            rows = [row for row in result["scores"] if row["tau"] == tau]
            label = f"tau = {tau / S:.1f} s"
            axes[0].plot([max(row["time"], 0.1) for row in rows], [row["size"] for row in rows], "o-", label=label)
            chains = [row for row in result["chains"] if row["tau"] == tau]
            steps = [row["steps"] for row in chains]
            axes[1].plot(
                steps, [row["single"] for row in chains], "o-", color=f"C{number}", label=f"one chain, {label}"
            )
            axes[1].plot(steps, [row["pair"] for row in chains], "x:", color=f"C{number}", label=f"pair, {label}")
        axes[0].set(xscale="log", xlabel="diffusion noise, s (leftmost: none)", ylabel="q's score over p's")
        axes[0].legend(fontsize=8)
        axes[1].set(xscale="log", xlabel="DDIM steps", ylabel="distance from E[x_noisy given x_c], s")
        axes[1].legend(fontsize=7)
