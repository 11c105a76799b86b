"""The command `diffdenoise`, which is `python -m diffdenoise`, too."""

import sys

from diffdenoise.threads import settle_threads


def main() -> None:
    """Import the commands and run the one that is asked for; Ctrl-C is answered before they are there, too."""
    settle_threads()
    try:
        from diffdenoise.cli import main as run
    except KeyboardInterrupt:
        print("diffdenoise: Interrupted.", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
