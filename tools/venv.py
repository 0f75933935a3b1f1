"""`python3 tools/venv.py FOLDER REQUIREMENTS`: makes a virtualenv and installs into it, saying how far it is.

For the Makefile. It runs on a bare Python, so it uses only the standard library. Python 3.6 must be able to read it,
so that it can ask for a newer one: hence the annotations in quotes.
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
    """Does it; returns the exit status."""
    if sys.version_info < OLDEST:
        print(
            f"Order Totals needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}."
            " Name another one: make PYTHON=python3.11 ..."
        )
        return 1
    python = folder / "bin" / "python"
    if not works(python):
        print(f"Making {folder} with Python {sys.version.split()[0]}", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], capture_output=True, text=True)
        if made.returncode:
            print((made.stdout + made.stderr).strip())
            print(f"No virtualenv could be made. On Debian and Ubuntu this helps: apt install {venv_package()}")
            return 1
    return install(python, requirements)


def works(python: Path) -> bool:
    """Whether a virtualenv's Python runs and has pip."""
    try:
        return subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def venv_package() -> str:
    """The Debian package that this Python's venv module needs."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}-venv"


def install(python: Path, requirements: str) -> int:
    """Installs the requirements; returns pip's exit status."""
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
        print(f"pip could not install {requirements}: see above. Then run the command again.")
        return pip.returncode
    print(f"Installed {requirements} in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def show_progress(lines: "Iterable[str]") -> "list[str]":
    """Makes of pip's output a line that counts, or, where nobody watches, a line now and then; returns it all."""
    output = []
    collected = 0
    told = 0.0
    for line in lines:
        output.append(line.rstrip())
        word, _, rest = line.strip().partition(" ")
        if word == "Collecting":
            collected += 1
            note = f"Installing: {collected} packages collected ({rest.split()[0]})"
        elif line.startswith("Installing collected packages"):
            note = f"Installing: {rest.count(',') + 1} packages"
            told = 0.0
        else:
            continue
        if sys.stdout.isatty():
            print(f"\r\033[K{note[:78]}", end="", flush=True)
        elif time.monotonic() - told > LINES_EVERY_SECONDS:
            print(note, flush=True)
            told = time.monotonic()
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
    return output


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    except KeyboardInterrupt:
        print("\nStopped. Run the command again to go on.")
        sys.exit(130)
