"""Noise: simulators of the common kinds (`models`), what is found of it in noisy scans, and how more like it is drawn.

Found: level and texture (`estimate`), kind (`trend`), over the image (`spatial`), by the rays of CT (`rays`), by the
phases of magnitudes (`phases`), from repetitions (`repetition`). Drawn for recorruption: `recorruption`.
"""
