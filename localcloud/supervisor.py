"""Run a command that is stopped when its parent process ends, even if the parent is killed.

`python supervisor.py FOLDER COMMAND...` runs the command in its own process group. It stops the command and all its
child processes, and deletes FOLDER, the command's scratch folder, in either of these cases:

- this process receives SIGTERM, SIGINT or SIGHUP;
- its standard input ends. The parent holds the other end of that pipe, so it ends whenever the parent does.

It runs as a script and imports nothing from the project, so that the command does not inherit its import path.
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
"""How long the command has to exit after SIGTERM. The emulator saves its state in this time."""
CHILDREN_GRACE_SECONDS = 1.0
"""How long the command's own child processes have to exit after it."""
POLL_SECONDS = 0.05


class Stop(BaseException):
    """A signal asks this process to stop."""


def main(folder: str, command: list[str]) -> int:
    """Run the command until it ends or must be stopped. Return its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    # In its own group, the command does not receive Ctrl-C, and one signal reaches all its processes.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while process.poll() is None and not _parent_has_ended():
            pass
    except Stop:
        pass
    finally:
        end_group(process)
        shutil.rmtree(folder, ignore_errors=True)
    return process.returncode


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Stop a process group, the leader first: send SIGTERM, and SIGKILL to those that do not end."""
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
    """Send a signal to a process group; return whether the group exists."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # On macOS, this means that only zombies are left in the group.
        return False
    return True


def _parent_has_ended() -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
