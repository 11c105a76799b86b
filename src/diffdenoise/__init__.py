"""Self-supervised denoising of medical images. Research use only, not a medical device."""
