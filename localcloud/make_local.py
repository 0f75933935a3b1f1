"""`make local`: run the whole app on this machine until Ctrl-C, and redeploy it when its source changes.

Environment variables: HTTP_PORT (default 8000), AWS_PORT (default 4566), and DATA, a folder that keeps the state.
Without DATA every start is empty.
"""

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text

from infrastructure.chalice_config import ConfigError
from infrastructure.local_stage import DEFAULT_PORTS, HOST, STAGE
from infrastructure.package import PackageError, package_current_source
from localcloud import banner, log_lines
from localcloud.chalice_local import ChaliceLocal
from localcloud.emulator import Emulator, is_emulator
from localcloud.servers import PROJECT, PortTakenError, ServerError, is_free
from localcloud.stack import DeployError, FunctionError, Stack, deploy

POLL_SECONDS = 0.5
CONSOLE = Console(highlight=False)  # In colour on a terminal, unless NO_COLOR is set.
COLOURS = {"✓": "green", "✗": "red", "·": "dim"}  # Of lines, by what they begin with.
# At the end, wait for the last writes to be counted, because the emulator does not save stream records.
DRAIN_SECONDS = 1.5
EXPECTED_ERRORS = (PackageError, ConfigError, ServerError, DeployError, FunctionError, OSError)
"""What `make local` prints as a message, without a traceback."""


class Stop(BaseException):
    """Ctrl-C, SIGTERM, or a closed terminal. It is not an Exception, because boto3 would catch that and retry."""


class Settings:
    """The settings from environment variables. Raise ValueError with a message for the user."""

    def __init__(self) -> None:
        self.http_port = _port("HTTP_PORT")
        self.aws_port = _port("AWS_PORT")
        self.data = Path(os.environ["DATA"]).expanduser() if os.environ.get("DATA") else None
        if self.data and self.data.exists() and not self.data.is_dir():
            raise ValueError(f"DATA={self.data} is a file. Name a folder; it is created if it does not exist.")
        if self.http_port == self.aws_port:
            raise ValueError(f"HTTP_PORT and AWS_PORT are both {self.http_port}. Use two different ports.")


class LocalCloud:
    """The parts of a running `make local`: the emulator, the stack in it, and `chalice local`."""

    def __init__(self, settings: Settings) -> None:
        """Start all parts. Raise one of EXPECTED_ERRORS."""
        self._settings = settings
        self._routes: ChaliceLocal | None = None
        with _step(f"Starting the emulator of AWS on port {settings.aws_port}"):
            self._emulator = Emulator(settings.aws_port, settings.data)
        try:
            self.stack = self._deploy()
            self._routes = self._serve_routes()
            if settings.data:
                self._backfill()
        except BaseException:
            self._stop_servers()
            raise

    @property
    def url(self) -> str:
        """The URL of the routes."""
        return f"http://localhost:{self._settings.http_port}"

    def check_servers(self) -> None:
        """Raise ServerError if a server has stopped by itself.

        `chalice local` may be missing: it is stopped for a redeployment, which can fail.
        """
        for server in (self._emulator, self._routes):
            if server and not server.running:
                raise ServerError(f"{server.name} has stopped:\n{server.last_output()}")

    def route_output(self) -> list[str]:
        """Return the lines that `chalice local` has printed since the last call."""
        return self._routes.new_output() if self._routes else []

    def redeploy(self) -> None:
        """Deploy the changed source. If that fails, print why and keep the previously deployed code running."""
        try:
            self.stack = self._deploy()
            if self._routes:
                self._routes.stop()
                self._routes = None
            self._routes = self._serve_routes()
        except EXPECTED_ERRORS as error:
            print_text(f"{error}\nFix it and save the file to deploy again.")

    def stop(self) -> None:
        """Stop all parts."""
        with _step("Stopping"):
            if self._settings.data:
                time.sleep(DRAIN_SECONDS)
            self._stop_servers()

    def _stop_servers(self) -> None:
        if self._routes:
            self._routes.stop()
        self._emulator.stop()

    def _deploy(self) -> Stack:
        with _step("Packaging the app (chalice package)"):
            build = self._emulator.folder / "build"  # The emulator's folder is always deleted when it stops.
            package_current_source(STAGE, build)
        with _step("Deploying it to the emulator (CloudFormation)"):
            stack = deploy(self._emulator, build)
        with _step("Starting its functions"):
            stack.warm()
        return stack

    def _serve_routes(self) -> ChaliceLocal:
        with _step(f"Starting chalice local on port {self._settings.http_port}"):
            routes = ChaliceLocal(self._emulator, self._settings.http_port, stage=STAGE)
        routes.new_output()  # Discard the start-up messages.
        return routes

    def _backfill(self) -> None:
        """Count the orders that were not yet counted when `make local` last stopped."""
        with _step(f"Counting orders in {self._settings.data} that are not in the totals (backfill)"):
            result = self.stack.invoke("Backfill")
            while result.get("cursor"):
                result = self.stack.invoke("Backfill", {"cursor": result["cursor"]})


def main() -> int:
    """Run `make local` and return its exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        settings = Settings()
        problem = taken_ports(settings)
        if problem:
            print(problem, file=sys.stderr)
            return 1
        run(settings)
    except Stop:
        pass
    except PortTakenError as error:  # Another program took the port after `taken_ports` had checked it.
        print(taken_ports(settings) or error, file=sys.stderr)
        return 1
    except (ValueError, *EXPECTED_ERRORS) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def taken_ports(settings: Settings) -> str | None:
    """Return a message with the taken ports and a command that works, or None if both are free."""
    ports = {"HTTP_PORT": settings.http_port, "AWS_PORT": settings.aws_port}
    taken = [port for port in ports.values() if not is_free(port)]
    if not taken:
        return None
    if len(taken) == 2 and is_emulator(settings.aws_port):
        problem = f"make local is already running at http://localhost:{settings.http_port}."
        advice = "Use that one, or start a second one"
    else:
        names = " and ".join(str(port) for port in taken)
        problem = f"Port {names} on {HOST} is taken." if len(taken) == 1 else f"Ports {names} on {HOST} are taken."
        advice = "Stop the program that uses it, or choose another port" if len(taken) == 1 else "Choose other ports"
    free = dict(ports)
    for name, port in ports.items():
        if port in taken:
            free[name] = next(each for each in range(port + 1, 65536) if each not in free.values() and is_free(each))
    arguments = [f"{name}={port}" for name, port in free.items() if port != DEFAULT_PORTS[name]]
    if settings.data:
        arguments.append(f"DATA={shlex.quote(str(settings.data))}")
    return f"{problem} {advice}: make local {' '.join(arguments)}"


def run(settings: Settings) -> None:
    """Start everything, then print logs and redeploy after edits until Ctrl-C."""
    log = PROJECT / "build" / f"local-{settings.http_port}.log"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    edited = last_edit()  # Read this before packaging, so that a later edit triggers a redeployment.
    cloud = LocalCloud(settings)
    try:
        added = FirstView(cloud)
        CONSOLE.print(banner.box(cloud.url, cloud.stack))
        print_text(banner.text(cloud.url, cloud.stack, settings.data))
        stream_lines = new_stream_lines(cloud)
        parent = os.getppid()
        while os.getppid() == parent:  # Stop if make was killed; no signal reports that.
            for line in [*next(stream_lines), *filter(log_lines.is_worth_printing, cloud.route_output())]:
                print_log_line(line, log, added.since_last() if log_lines.entry(line).get("applied") else {})
            cloud.check_servers()
            if edited != (edited := last_edit()):
                print_text("The source has changed.")
                url = cloud.stack.api_host_url
                cloud.redeploy()
                if cloud.stack.api_host_url != url:  # New routes can replace the API and change its URL.
                    print_text(f"API Gateway's URL is now {cloud.stack.api_host_url}")
            time.sleep(POLL_SECONDS)
    finally:
        _ignore_signals()
        cloud.stop()


def new_stream_lines(cloud: LocalCloud) -> Iterator[list[str]]:
    """Yield a list of the stream handler's new log lines each time, without those that are not worth printing."""
    printed: set[str] = set()
    since_ms = int(time.time() * 1000)
    while True:
        read_ms = int(time.time() * 1000)
        events = cloud.stack.log_events("Aggregate", since_ms)
        new = [event.message for event in events if event.stream not in printed]
        yield [line for line in new if log_lines.is_worth_printing(line)]
        printed = {event.stream for event in events}
        # Lines appear a little later than their own timestamps, so read an overlap of ten seconds.
        since_ms = max(since_ms, read_ms - 10_000)


def last_edit() -> float:
    """Return when the app's source or requirements were last changed, in epoch seconds."""
    files = [PROJECT / "app.py", PROJECT / "requirements.txt", *(PROJECT / "chalicelib").rglob("*.*")]
    times = [0.0]
    for file in files:
        if "__pycache__" not in file.parts:
            with contextlib.suppress(OSError):  # An editor may be replacing the file right now.
                times.append(file.stat().st_mtime)
    return max(times)


class FirstView:
    """The rows of the model's first view, and what has been added to them."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        self._rows: dict[str, Any] = {}
        self.since_last()

    def since_last(self) -> dict[str, Any]:
        """Return by row what was added since the last call; nothing for a view with more rows than a Scan reads."""
        from chalicelib import model, views  # noqa: F401 (As late as in banner.py. `model` fills VIEWS.)

        view = next(iter(views.VIEWS.values()), None)
        if view is None or view.table not in self._cloud.stack.tables:
            return {}
        dynamodb = self._cloud.stack.emulator.client("dynamodb")
        scanned = dynamodb.scan(TableName=self._cloud.stack.tables[view.table])
        amount = view.top or next(iter(view.places))
        rows = {
            " ".join(item[name]["S"] for name in view.key): views.read_amount(item, amount, view.places[amount])
            for item in scanned["Items"]
        }
        before, self._rows = self._rows, rows
        changed = {key: rows[key] - before.get(key, 0) for key in rows if rows[key] != before.get(key, 0)}
        return {} if "LastEvaluatedKey" in scanned else changed


def print_log_line(line: str, log: Path, added: dict[str, Any]) -> None:
    """Print a log line, shortened, and append the whole line to the log file."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    print_text(log_lines.shorten(line, log.relative_to(PROJECT), added))


def print_text(text: str, end: str = "\n") -> None:
    """Print to the terminal. Do nothing if the terminal has been closed."""
    with contextlib.suppress(OSError):
        CONSOLE.print(Text(text, COLOURS.get(text[:1], "")), end=end, soft_wrap=True)
        CONSOLE.file.flush()


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    """Print what is happening, and how long it took when it ends."""
    print_text(f"{what} ...", end="")
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print_text("")
        raise
    print_text(f" {time.monotonic() - started:.1f} s")


def _port(variable: str) -> int:
    text = os.environ.get(variable) or str(DEFAULT_PORTS[variable])
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError(f"{variable}={text} is not a port. Use a number from 1 to 65535.")
    return int(text)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stop


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
