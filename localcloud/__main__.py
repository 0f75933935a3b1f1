"""`python -m localcloud`, the entry point of `make local`. It handles signals before it imports the rest."""

import signal
import sys


def main() -> int:
    """Run `make local` and return its exit status."""
    # The imports take a second. Nothing has started yet, so Ctrl-C may end the process at once, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from localcloud import make_local

    return make_local.main()


if __name__ == "__main__":
    sys.exit(main())
