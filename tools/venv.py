"""`python3 tools/venv.py FOLDER REQUIREMENTS`: create a virtualenv and install requirements, with progress output.

The Makefile uses it. It needs only the standard library. Python 3.6 must be able to parse it, so that it can ask for
a newer Python; therefore some annotations are quoted.
"""

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

OLDEST = (3, 11)
LINES_EVERY_SECONDS = 3.0
LAST_LINES = 30


def main(folder: Path, requirements: str) -> int:
    """Create the virtualenv if needed, install into it, and return the exit status."""
    if sys.version_info < OLDEST:
        print(
            f"Order Totals needs Python 3.11 or newer, but {sys.executable} is {sys.version.split()[0]}."
            " Choose another one: make PYTHON=python3.11 ..."
        )
        return 1
    python = folder / "bin" / "python"
    if not is_usable(python):
        print(f"Creating {folder} with Python {sys.version.split()[0]}", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], capture_output=True, text=True)
        if made.returncode:
            print((made.stdout + made.stderr).strip())
            print(f"Could not create a virtualenv. On Debian and Ubuntu, try: apt install {venv_package()}")
            return 1
    return install(python, requirements)


def is_usable(python: Path) -> bool:
    """Return whether a virtualenv's Python runs and has pip."""
    try:
        return subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def venv_package() -> str:
    """Return the Debian package that this Python's venv module needs."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}-venv"


def install(python: Path, requirements: str) -> int:
    """Install the requirements and return pip's exit status."""
    started = time.monotonic()
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "-r", requirements]
    pip = subprocess.Popen(
        [python, "-m", "pip", "install", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert pip.stdout
    output = show_progress(pip.stdout)
    if pip.wait():
        print("\n".join(output[-LAST_LINES:]))
        print(f"pip could not install {requirements}. Fix the error above and run the command again.")
        return pip.returncode
    print(f"Installed {requirements} in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def show_progress(lines: "Iterable[str]") -> "list[str]":
    """Show pip's progress, in one updating line in a terminal and otherwise every few seconds. Return pip's output."""
    output = []
    collected = 0
    printed_at = 0.0
    for line in lines:
        output.append(line.rstrip())
        word, _, rest = line.strip().partition(" ")
        if word == "Collecting":
            collected += 1
            note = f"Installing: {collected} packages collected ({rest.split()[0]})"
        elif line.startswith("Installing collected packages"):
            note = f"Installing: {rest.count(',') + 1} packages"
            printed_at = 0.0
        else:
            continue
        if sys.stdout.isatty():
            print(f"\r\033[K{note[:78]}", end="", flush=True)
        elif time.monotonic() - printed_at > LINES_EVERY_SECONDS:
            print(note, flush=True)
            printed_at = time.monotonic()
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
    return output


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    except KeyboardInterrupt:
        print("\nStopped. Run the command again to continue.")
        sys.exit(130)
