"""Runs a command that cannot outlive the one who asked for it.

`python guard.py FOLDER COMMAND...` runs the command in a process group of its own until this process is asked to
stop or its standard input comes to its end, which it does when the asking process ends, however that happened.
Then the command, and whatever it has started, is stopped, and FOLDER, its scratch space, removed.

It is run as a script, and imports nothing of the project, so that nothing of the project's own import path gets
to the command.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from types import FrameType

GRACE_SECONDS = 30.0
"""How long the command has to end by itself; the emulator saves its state in this time."""
CHILDREN_GRACE_SECONDS = 1.0
"""How long those that the command has started have, after it has ended."""
POLL_SECONDS = 0.05


class Stop(BaseException):
    """It is time to end."""


def main(folder: str, command: list[str]) -> int:
    """Runs the command to its end, or until it is stopped; returns its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    # Its own group, so that signals reach all of it, and so that a Ctrl-C at the terminal does not.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while process.poll() is None and not _asker_is_gone():
            pass
    except Stop:
        pass
    finally:
        end_group(process)
        shutil.rmtree(folder, ignore_errors=True)
    return process.returncode


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that leads its group, and then all of the group: gently first, then for certain."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    signal_group(process.pid, signal.SIGTERM)
    end = time.monotonic() + CHILDREN_GRACE_SECONDS
    while time.monotonic() < end and signal_group(process.pid, 0):
        time.sleep(POLL_SECONDS)
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def signal_group(group: int, number: int) -> bool:
    """Sends a signal to a process group; returns whether there is such a group."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # What macOS says of a group of which only zombies are left.
        return False
    return True


def _asker_is_gone() -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
