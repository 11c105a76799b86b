"""Measurements beside the package: ablations of the method, and the benchmark against its peers."""
