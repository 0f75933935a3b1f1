"""`make local`: the whole app on this machine, until Ctrl-C.

The environment says how: HTTP_PORT (8000) and AWS_PORT (4566), and DATA, a folder in which to keep the state;
without it every start is a fresh one.
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

from infrastructure.chalice_config import ConfigError
from infrastructure.package import PackageError, package_current_source
from localcloud import guide
from localcloud.chalice_local import ChaliceLocal
from localcloud.emulator import Emulator, is_emulator
from localcloud.servers import HOST, PROJECT, PortTaken, ServerError, is_free
from localcloud.stack import DeployError, FunctionError, Stack, deploy

STAGE = "local"
DEFAULT_PORTS = {"HTTP_PORT": 8000, "AWS_PORT": 4566}
POLL_SECONDS = 0.5
# A write that was made at the last moment is counted before the emulator, which forgets its streams, goes.
DRAIN_SECONDS = 1.5
EXPECTED = (PackageError, ConfigError, ServerError, DeployError, FunctionError, OSError)


class Stop(BaseException):
    """Ctrl-C, SIGTERM, or the terminal is closed. No Exception, since boto3 takes those for failures to try again."""


class Settings:
    """What the environment says. Raises ValueError, with a message for its reader."""

    def __init__(self) -> None:
        self.http_port = _port("HTTP_PORT")
        self.aws_port = _port("AWS_PORT")
        self.data = Path(os.environ["DATA"]).expanduser() if os.environ.get("DATA") else None
        if self.data and self.data.exists() and not self.data.is_dir():
            raise ValueError(f"DATA={self.data} is a file: give a folder, which is made if it is not there")
        if self.http_port == self.aws_port:
            raise ValueError(f"HTTP_PORT and AWS_PORT are both {self.http_port}: give one of them another port")


class LocalCloud:
    """The three parts of it and their lives: the emulator, the stack in it, `chalice local` beside it."""

    def __init__(self, settings: Settings) -> None:
        """Starts it. Raises what EXPECTED names."""
        self._settings = settings
        self._routes: ChaliceLocal | None = None
        with _step(f"Starting the emulator of AWS on port {settings.aws_port}"):
            self._emulator = Emulator(settings.aws_port, settings.data)
        try:
            self.stack = self._deploy()
            self._routes = self._serve_routes()
            if settings.data:
                self._catch_up()
        except BaseException:
            self._stop_servers()
            raise

    @property
    def url(self) -> str:
        """The URL of the routes."""
        return f"http://localhost:{self._settings.http_port}"

    def check(self) -> None:
        """Raises ServerError if a part of it has ended by itself. Routes that an edit has broken may be missing."""
        for server in (self._emulator, self._routes):
            if server and not server.running:
                raise ServerError(f"{server.name} has stopped:\n{server.last_output()}")

    def route_output(self) -> list[str]:
        """What `chalice local` has printed since the last call."""
        return self._routes.new_output() if self._routes else []

    def renew(self) -> None:
        """Takes up changes in the source. What is wrong with them is said, and the old code runs on if it can."""
        try:
            self.stack = self._deploy()
            if self._routes:
                self._routes.stop()
                self._routes = None
            self._routes = self._serve_routes()
        except EXPECTED as error:
            say(f"{error}\nFix it and save; it is then deployed again.")

    def stop(self) -> None:
        """Stops all of it."""
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
            build = self._emulator.folder / "build"  # Which goes when the emulator does, however that happens.
            package_current_source(STAGE, build)
        with _step("Deploying it to the emulator (CloudFormation)"):
            stack = deploy(self._emulator, build)
        with _step("Starting its functions"):
            stack.warm()
        return stack

    def _serve_routes(self) -> ChaliceLocal:
        with _step(f"Starting chalice local on port {self._settings.http_port}"):
            routes = ChaliceLocal(self._emulator, self._settings.http_port, stage=STAGE)
        routes.new_output()  # What it says of its start is said already.
        return routes

    def _catch_up(self) -> None:
        """Counts what the stream may not have delivered before the last stop."""
        with _step(f"Bringing the totals of {self._settings.data} up to date (backfill)"):
            answer = self.stack.invoke("Backfill")
            while answer.get("cursor"):
                answer = self.stack.invoke("Backfill", {"cursor": answer["cursor"]})


def main() -> int:
    """Runs it; returns the exit status."""
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
    except PortTaken as error:  # Taken since they were checked.
        print(taken_ports(settings) or error, file=sys.stderr)
        return 1
    except (ValueError, *EXPECTED) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def taken_ports(settings: Settings) -> str | None:
    """Return which ports are taken and a command that works, or None if both are free."""
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
        advice = "Stop the program that listens there, or use another port"
    free = dict(ports)
    for name, port in ports.items():
        if port in taken:
            free[name] = next(each for each in range(port + 1, 65536) if each not in free.values() and is_free(each))
    arguments = [f"{name}={port}" for name, port in free.items() if port != DEFAULT_PORTS[name]]
    if settings.data:
        arguments.append(f"DATA={shlex.quote(str(settings.data))}")
    return f"{problem} {advice}: make local {' '.join(arguments)}"


def run(settings: Settings) -> None:
    """Starts it and follows the stream handler's log until Ctrl-C."""
    log = PROJECT / "build" / f"local-{settings.http_port}.log"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    edited = source_time()  # Before it is packaged: an edit meanwhile is one to take up.
    cloud = LocalCloud(settings)
    try:
        say(guide.text(cloud.url, cloud.stack, settings.data))
        lines = new_lines(cloud)
        parent = os.getppid()
        while os.getppid() == parent:  # For make may be killed without a word to us.
            for line in [*next(lines), *filter(guide.worth_showing, cloud.route_output())]:
                show(line, log)
            cloud.check()
            if edited != (edited := source_time()):
                say("The source has changed.")
                url = cloud.stack.api_host_url
                cloud.renew()
                if cloud.stack.api_host_url != url:  # As after a change of the routes.
                    say(f"API Gateway's URL is now {cloud.stack.api_host_url}")
            time.sleep(POLL_SECONDS)
    finally:
        _ignore_signals()
        cloud.stop()


def new_lines(cloud: LocalCloud) -> Iterator[list[str]]:
    """The stream handler's log lines, without metrics and platform lines, since the last call."""
    shown: set[str] = set()
    since_ms = int(time.time() * 1000)
    while True:
        asked_ms = int(time.time() * 1000)
        events = cloud.stack.log_events("Aggregate", since_ms)
        yield [event.message for event in events if event.stream not in shown and guide.worth_showing(event.message)]
        shown = {event.stream for event in events}
        # Lines appear a little after the time that they bear.
        since_ms = max(since_ms, asked_ms - 10_000)


def source_time() -> float:
    """When the app's source, or its configuration, was last changed."""
    files = [PROJECT / "app.py", PROJECT / "requirements.txt", *(PROJECT / "chalicelib").rglob("*.*")]
    times = [0.0]
    for file in files:
        if "__pycache__" not in file.parts:
            with contextlib.suppress(OSError):  # An editor is just replacing it.
                times.append(file.stat().st_mtime)
    return max(times)


def show(line: str, log: Path) -> None:
    """Show a log line, and keep it whole in the log file."""
    with log.open("a", encoding="utf-8") as whole:
        whole.write(f"{line}\n")
    say(guide.short(line, log.relative_to(PROJECT)))


def say(text: str, end: str = "\n") -> None:
    """Prints something, if there still is somebody to print it to."""
    with contextlib.suppress(OSError):
        print(text, end=end, flush=True)


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    """Says what is done, and how long it took."""
    say(f"{what} ...", end="")
    started = time.monotonic()
    try:
        yield
    except BaseException:
        say("")
        raise
    say(f" {time.monotonic() - started:.1f} s")


def _port(variable: str) -> int:
    text = os.environ.get(variable) or str(DEFAULT_PORTS[variable])
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError(f"{variable}={text} is not a port: give a number from 1 to 65535")
    return int(text)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stop


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
