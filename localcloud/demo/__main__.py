"""`python -m localcloud.demo`, the entry point of `make demo`: a page with buttons, or a script in the terminal."""

import argparse
import os
import signal
import sys
import time

from rich.console import Console

from infrastructure.local_stage import STAGE
from infrastructure.package import package_current_source
from localcloud.demo.cloud import DemoCloud, DemoError
from localcloud.demo.server import DemoServer
from localcloud.demo.steps import STEPS, Demo
from localcloud.emulator import Emulator
from localcloud.make_local import EXPECTED_ERRORS
from localcloud.servers import PortTakenError, require_free

POLL_SECONDS = 0.5


def main() -> int:
    """Run the demo and return its exit status: 1 if a total of the app is wrong, or after an error."""
    parser = argparse.ArgumentParser(prog="make demo", description="Break a plain ADD and this app side by side.")
    parser.add_argument("--port", type=int, required=True, help="the page's port on 127.0.0.1")
    parser.add_argument("--script", action="store_true", help="play all steps in the terminal instead")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    console = Console(highlight=False, soft_wrap=True)
    try:
        if not options.script:
            require_free(options.port)
        console.print("Starting this app and a plain ADD handler in an emulator of AWS ...")
        with Emulator() as emulator:
            package_current_source(STAGE, emulator.folder / "build")
            demo = Demo(DemoCloud(emulator, emulator.folder / "build"))
            return play(demo, console) if options.script else serve(demo, options.port, console)
    except (DemoError, *EXPECTED_ERRORS) as error:
        advice = " Choose another one: make demo HTTP_PORT=8001" if isinstance(error, PortTakenError) else ""
        print(f"{error}{advice}", file=sys.stderr)
        return 1


def serve(demo: Demo, port: int, console: Console) -> int:
    """Place a first order and serve the page until Ctrl-C, or until make is killed."""
    demo.run("place")
    with DemoServer(demo, port):
        console.print(f"Ready. Open http://localhost:{port}/ and press the buttons. Ctrl-C stops everything.")
        parent = os.getppid()
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
    return 0


def play(demo: Demo, console: Console) -> int:
    """Carry out all steps and print a line for each. Return 1 if a total of the app was wrong, otherwise 0."""
    console.print(f"\n[bold]{'How many notebooks are ordered?':46}{'Truth':>6}{'Plain ADD':>13}{'Order Totals':>15}")
    for step in ("place", *STEPS):
        _, text, (truth, *totals) = demo.run(step)
        cells = [f"{total} ({total - truth:+})" if total != truth else str(total) for total in totals]
        colours = ["red" if total != truth else "green" for total in totals]
        plain, ours = (f"[{colour}]{cell:>14}[/]" for colour, cell in zip(colours, cells, strict=True))
        console.print(f"{text:46}{truth:6}{plain}{ours}")
    console.print()
    for name, total in zip(("Truth", "Plain ADD", "Order Totals"), (truth, *totals), strict=True):
        off = total - truth
        verdict = f"[red]{abs(off)} too {'many' if off > 0 else 'few'}[/]" if off else "[green]exact[/]"
        console.print(f"{name:14}{total:3}   {'' if name == 'Truth' else verdict}".rstrip())
    return int(any(done.columns.ours != done.columns.truth for done in demo.log))


if __name__ == "__main__":
    sys.exit(main())
