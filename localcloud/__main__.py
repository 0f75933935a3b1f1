"""`python -m localcloud`, which is what `make local` runs: handle signals first, then import the rest."""

import signal
import sys


def main() -> int:
    """Run it; return the exit status."""
    # The imports take a second. Nothing has started yet, so Ctrl-C may simply end the process, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from localcloud import local

    return local.main()


if __name__ == "__main__":
    sys.exit(main())
