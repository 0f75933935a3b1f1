"""Create virtualenvs with few packages for tests, and cache them in build/ by their requirements."""

import hashlib
import subprocess
import sys
from pathlib import Path

from infrastructure.package import PROJECT

FOLDER = PROJECT / "build" / "test-environments"


def environment(name: str, *arguments: str) -> Path:
    """Return the bin folder of a virtualenv after `pip install ARGUMENTS`.

    If a requirements file among the arguments changes, create a new virtualenv.
    """
    contents = [Path(each).read_bytes() if Path(each).is_file() else each.encode() for each in arguments]
    key = hashlib.sha256(b"\0".join([sys.version.encode(), *contents])).hexdigest()[:16]
    folder = FOLDER / f"{name}-{key}"
    ready = folder / ".ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
        subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
        ready.touch()
    return folder / "bin"


def pins(lock: Path) -> list[str]:
    """Return the pinned requirements of a lock file."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [line.removesuffix("\\").strip() for line in lines if line[:1].isalnum()]
