"""`python -m diffdenoise` is the command `diffdenoise`."""

from diffdenoise.cli import main

main()
