"""Self-supervised denoising of medical images. Research use only, not a medical device.

from diffdenoise import Denoiser
denoiser = Denoiser.fit(noisy)
clean = denoiser.denoise(noisy)
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Denoiser", "__version__"]

if TYPE_CHECKING:
    from diffdenoise.denoiser import Denoiser


def __getattr__(name: str) -> Any:
    """Import torch and the rest only when the Denoiser is first asked for: the command line must start fast."""
    if name == "Denoiser":
        from diffdenoise.denoiser import Denoiser

        return Denoiser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
