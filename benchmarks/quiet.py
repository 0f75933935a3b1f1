"""Tell whether other processes, or other guests of the host, used this machine during a measurement (Linux)."""

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

OTHERS_MAX = 0.05
STOLEN_MAX = 0.02
"""The shares of all cores' time that make times unreliable."""
PROBE_SECONDS = 2.0

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    """CPU seconds since the machine started, of all cores together."""

    total: float
    busy: float
    stolen: float
    own: float
    """Those of this process and its descendants."""


class Load(NamedTuple):
    """Shares of the machine's CPU time, from 0 to 1."""

    others: float
    """What other processes used."""
    stolen: float
    """What the host gave to other guests."""

    @property
    def too_busy(self) -> str:
        """The reason why times are unreliable; empty if they are not."""
        if self.others > OTHERS_MAX:
            return f"Other processes used {self.others:.0%} of this machine's CPU; at most {OTHERS_MAX:.0%} is fine."
        if self.stolen > STOLEN_MAX:
            return f"The host took {self.stolen:.0%} of this machine's CPU; at most {STOLEN_MAX:.0%} is fine."
        return ""


def probe() -> Load:
    """Return the load while this process does nothing."""
    before = sample()
    time.sleep(PROBE_SECONDS)
    return between(before, sample())


def between(before: Sample, after: Sample) -> Load:
    """Return the load between two samples."""
    total, busy, stolen, own = (end - start for start, end in zip(before, after, strict=True))
    return Load(max(0.0, busy - own) / total, stolen / total)


def sample() -> Sample:
    """Read the counters of the machine and of this process and its descendants."""
    own = own_seconds()
    return Sample(*machine_seconds(Path("/proc/stat").read_text(encoding="ascii")), own)


def machine_seconds(stat: str) -> tuple[float, float, float]:
    """Return the total, busy and stolen seconds in the text of /proc/stat (man 5 proc)."""
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, stat.split("\n", 1)[0].split()[1:9])
    busy = user + nice + system  # Interrupts belong to nobody: this process's own network traffic causes most of them.
    total = busy + idle + iowait + irq + softirq + steal
    return total / TICKS_PER_SECOND, busy / TICKS_PER_SECOND, steal / TICKS_PER_SECOND


def own_seconds() -> float:
    """Return the CPU seconds of this process, its descendants, and those of them that have ended."""
    children: dict[int, list[int]] = defaultdict(list)
    ticks = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # The process has just ended.
            continue
        children[int(fields[1])].append(int(process.name))
        ticks[int(process.name)] = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    pending, own = [os.getpid()], 0
    while pending:
        pid = pending.pop()
        own += ticks.get(pid, 0)
        pending += children[pid]
    return own / TICKS_PER_SECOND
