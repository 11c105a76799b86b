"""Scans: find them, read them into physical units, write results back in the same kind of file."""
