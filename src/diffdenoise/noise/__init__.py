"""Noise: simulators of the common kinds (`models`) and their estimation from noisy scans (`estimate`)."""
