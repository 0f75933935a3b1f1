"""Virtual environments for tests of what works with few packages. They are kept in build/, by what is in them."""

import hashlib
import subprocess
import sys
from pathlib import Path

from infrastructure.package import PROJECT

FOLDER = PROJECT / "build" / "test-environments"


def environment(name: str, *arguments: str) -> Path:
    """Return the bin folder of a virtual environment with what `pip install ARGUMENTS` installs.

    Files among the arguments are hashed by their content.
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
