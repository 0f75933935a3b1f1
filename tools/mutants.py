"""`make mutants`: change the counting code in small ways with mutmut; the tests must notice each change.

A changed function that all tests still pass with is a survivor. This fails on a survivor, unless
tests/equivalent_mutants.txt lists it with the reason why it makes no difference.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
LISTED = PROJECT / "tests" / "equivalent_mutants.txt"
CAUGHT = ("killed", "timeout", "caught by type check")


class Mutant(NamedTuple):
    """A changed function. `lines` are those of a diff, without indentation: `- old` and `+ new`."""

    function: str  # chalicelib/counting/committer.py: Committer.steps
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join((self.function, *self.lines))


def main(arguments: list[str] | None = None) -> int:
    """Run mutmut, on all functions or on those that the arguments name. Return the exit status."""
    patterns = sys.argv[1:] if arguments is None else arguments
    if mutmut("run", *patterns).returncode:
        print("mutmut could not run. Run `make test` first: all tests must pass.")
        return 1
    names = survivors(mutmut("results", capture=True).stdout.splitlines())
    found = [parse_diff(name, mutmut("show", name, capture=True).stdout.splitlines()) for name in names]
    return judge(found, read(LISTED.read_text(encoding="utf-8")))


def mutmut(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run mutmut, whose settings are in pyproject.toml."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=capture, text=True, check=False)


def survivors(results: Iterable[str]) -> list[str]:
    """Return the names of mutants that were not caught, from lines such as `module.x_function__mutmut_1: survived`."""
    pairs = [line.strip().rpartition(": ") for line in results if ": " in line]
    return [name for name, _, status in pairs if status not in (*CAUGHT, "not checked")]


def parse_diff(name: str, diff: Iterable[str]) -> Mutant:
    """Return a mutant from mutmut's name and diff of it."""
    module, _, mangled = name.rpartition(".")
    function = mangled.rpartition("__mutmut_")[0].removeprefix("xǁ").removeprefix("x_").replace("ǁ", ".")
    changed = [line for line in diff if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")]
    lines = tuple(f"{line[0]} {line[1:].strip()}" for line in changed)
    return Mutant(f"{module.replace('.', '/')}.py: {function}", lines)


def read(text: str) -> dict[Mutant, str]:
    """Return the reason for each mutant in a list: the function, its diff, and the reason, then an empty line."""
    listed = {}
    for entry in text.split("\n\n"):
        function, *lines = [line for line in entry.splitlines() if not line.startswith("#")] or [""]
        diff = tuple(line for line in lines if line[:2] in ("- ", "+ "))
        reason = " ".join(line.strip() for line in lines[len(diff) :])
        if function and not (diff and reason):
            raise ValueError(f"{function} in {LISTED.name} needs a diff and a reason")
        if function:
            listed[Mutant(function, diff)] = reason
    return listed


def judge(found: Iterable[Mutant], listed: dict[Mutant, str]) -> int:
    """Print the survivors that are not listed. Return 1 if there are any."""
    unlisted = [mutant for mutant in found if mutant not in listed]
    for mutant in unlisted:
        print(f"\n{mutant}")
    if unlisted:
        print(f"\n{len(unlisted)} mutants survive. Write a test that fails with each, or list it in {LISTED.name}.")
        return 1
    print("The tests catch every mutant that makes a difference.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
