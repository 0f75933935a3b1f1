"""localcloud/demo/: `make demo SCRIPT=yes` as a whole. tests/browser/test_demo.py tests the page."""

import io
import re
import socket
import subprocess
import sys

import pytest
from rich.console import Console

from infrastructure.local_stage import HOST
from localcloud.demo.__main__ import play
from localcloud.demo.cloud import Columns
from localcloud.demo.steps import STEPS, Done
from localcloud.servers import PROJECT

RED, GREEN = "\x1b[31m", "\x1b[32m"


def run_demo(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "localcloud.demo", "--port", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_in_every_step_ours_is_the_truth_and_in_the_end_plain_add_is_wrong():
    done = run_demo("8000", "--script")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    lines = re.findall(r"^(\S.*\S) +(\d+) +(\d+)(?: \(([+-]\d+)\))? +(\d+)$", done.stdout, re.MULTILINE)
    assert [line[0] for line in lines] == [
        "Ordered 5",
        "Ordered 3",
        "Delivered the last batch again",
        "Ordered 8, killed both after their write",
        "Ordered 4, lost both responses",
        "Amended an order from 4 to 2",
        "Cancelled an order of 5",
        "Ordered 1, wrote a malformed order, ordered 1",
        "Audited 6 orders: clean",
    ]
    columns = [Columns(int(truth), int(plain), int(ours)) for _, truth, plain, _, ours in lines]
    assert [each.truth for each in columns] == [5, 8, 8, 16, 20, 18, 13, 15, 15]
    assert [each.ours for each in columns] == [each.truth for each in columns]
    # Each of these six steps makes plain ADD more wrong.
    off = [each.plain - each.truth for each in columns]
    assert off[:7] == [0, 0, 3, 11, 15, 17, 22]
    assert off[7] >= 24  # More if Lambda tries the malformed order a third time.
    assert off[8] == off[7]
    assert [line[3] for line in lines] == [f"{each:+}" if each else "" for each in off]
    end = done.stdout.splitlines()[-3:]
    assert end == [
        "Truth          15",
        f"Plain ADD      {15 + off[8]}   {off[8]} too many",
        "Order Totals   15   exact",
    ]
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"    Truth +15\n    Plain ADD +\d+   \d+ too many\n    Order Totals +15   exact\n", readme)


class Wrong:
    """Stands for a demo in which the app has lost 3."""

    def __init__(self, ours: int) -> None:
        self.log: list[Done] = []
        self._ours = ours

    def run(self, step: str) -> Done:
        self.log.append(Done(step, step, Columns(10, 12, self._ours)))
        return self.log[-1]


@pytest.mark.parametrize(("ours", "status", "end"), [(7, 1, "3 too few"), (10, 0, "exact")])
def test_exit_status_is_1_if_ours_is_not_the_truth(ours: int, status: int, end: str):
    output = io.StringIO()
    demo = Wrong(ours)
    assert play(demo, Console(file=output)) == status  # type: ignore[arg-type]
    assert output.getvalue().endswith(f"{end}\n")
    assert [done.step for done in demo.log] == ["place", *STEPS]


@pytest.mark.parametrize("no_color", [False, True])
def test_wrong_numbers_are_red_in_a_terminal_unless_it_wants_no_colour(no_color: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    output = io.StringIO()
    play(Wrong(10), Console(file=output, force_terminal=True, highlight=False))  # type: ignore[arg-type]
    assert (re.search(r"\x1b\[31m +12 \(\+2\)\x1b", output.getvalue()) is None) == no_color
    assert (GREEN in output.getvalue()) == (RED in output.getvalue()) == (not no_color)


def test_taken_port_is_reported_with_a_way_out():
    with socket.create_server((HOST, 0)) as listener:
        taken = listener.getsockname()[1]
        done = run_demo(str(taken))
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"Port {taken} on 127.0.0.1 is taken by another program. Choose another one: make demo"
    )
