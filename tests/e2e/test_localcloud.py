"""Tests for localcloud/: servers stop with their parent process, deployments work, and so does `make local`."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from infrastructure.local_stage import HOST, root_access
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT, PortTakenError, Server, ServerError, clean_environment, free_port
from localcloud.stack import DeployError, FunctionError, Stack, deploy
from tests.e2e.http import Api
from tests.e2e.pages import without_times
from tests.projects import copy_source

STOP_SECONDS = 60
README = (PROJECT / "README.md").read_text(encoding="utf-8")

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def processes(text: str) -> list[str]:
    """Return the command lines of running processes whose command line contains a text."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in line and int(process.name) != os.getpid():
                found.append(line)
    return found


# --- Servers -------------------------------------------------------------------------------------

# A server that starts a child process. The child sleeps.
PARENT = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[2]])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def start(mark: str) -> Server:
    port = free_port()
    server = Server("test", port, [sys.executable, "-c", PARENT, str(port), mark], clean_environment(), PROJECT)
    server.wait_until_up(f"http://{HOST}:{port}/")
    return server


def test_stopping_a_server_stops_its_children_and_deletes_its_folder(unique: str):
    server = start(unique)
    assert len(processes(unique)) == 3  # The supervisor, the server and the server's child process.
    server.stop()
    assert processes(unique) == []
    assert not server.folder.exists()
    server.stop()


def test_server_stops_if_its_parent_is_killed(unique: str, eventually: Callable[..., Any]):
    code = f"from tests.e2e.test_localcloud import start; import time; start({unique!r}); print('up', flush=True); "
    parent = subprocess.Popen(
        [sys.executable, "-c", code + "time.sleep(600)"], stdout=subprocess.PIPE, cwd=PROJECT, text=True
    )
    assert parent.stdout
    assert parent.stdout.readline() == "up\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: processes(unique), []) == []


def test_server_that_exits_at_once_is_reported_with_its_output():
    command = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    server = Server("test", free_port(), command, clean_environment(), PROJECT)
    with server, pytest.raises(ServerError, match="no such luck"):
        server.wait_until_up(f"http://{HOST}:{server.port}/")


def test_server_is_not_started_on_a_taken_port(taken: int):
    with pytest.raises(PortTakenError, match=f"Port {taken} "):
        Emulator(taken)


def test_servers_get_no_settings_of_a_real_aws_account(monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "PYTHONPATH", "LAMBDA_EXECUTOR"):
        monkeypatch.setenv(name, "x")
    environment = clean_environment()
    assert {name for name in environment if name.startswith(("AWS_", "PYTHON", "LAMBDA_"))} == {
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
    }
    assert environment["AWS_CONFIG_FILE"] == environment["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert environment["PATH"] == os.environ["PATH"]


# --- Deployments ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_emulator() -> Iterator[Emulator]:
    """Run an emulator for this file only, because its tests deploy their own stacks."""
    with Emulator() as running:
        yield running


def test_policy_is_enforced_and_a_second_deployment_replaces_it(own_emulator: Emulator, build: Path):
    def without_scan(template: dict[str, Any]) -> None:
        policy = template["Resources"]["BackfillRole"]["Properties"]["Policies"][0]["PolicyDocument"]
        policy["Statement"][0]["Action"].remove("dynamodb:Scan")

    with pytest.raises(FunctionError, match="not authorized to perform: dynamodb:Scan"):
        deploy(own_emulator, build, change=without_scan).invoke("Backfill")
    assert deploy(own_emulator, build).invoke("Backfill")["done"] is True


def test_paths_of_other_services_are_unchanged(own_emulator: Emulator):
    storage = own_emulator.client("s3")
    storage.create_bucket(Bucket="paths")
    storage.put_object(Bucket="paths", Key="a b/%2F/ü", Body=b"here")
    assert [each["Key"] for each in storage.list_objects_v2(Bucket="paths")["Contents"]] == ["a b/%2F/ü"]
    assert storage.get_object(Bucket="paths", Key="a b/%2F/ü")["Body"].read() == b"here"


def test_cloudformation_error_is_reported(own_emulator: Emulator, build: Path):
    def nonsense(template: dict[str, Any]) -> None:
        template["Resources"]["Nonsense"] = {"Type": "AWS::No::Such", "Properties": {}}

    with pytest.raises(DeployError, match=r"Nonsense|AWS::No::Such"):
        deploy(own_emulator, build, "nonsense", change=nonsense)


def test_killed_function_process_loses_no_order(
    stack: Stack, dynamodb: Any, unique: str, eventually: Callable[..., Any], api_url: str
):
    def place(number: int) -> None:
        item = {"OrderID": {"S": f"{unique}-{number}"}, "Product": {"S": unique}, "Quantity": {"N": "1"}}
        dynamodb.put_item(TableName=stack.tables["OrdersTable"], Item=item)

    def counted() -> Any:
        return Api(api_url).get(f"/totals/{unique}").json.get("totalQuantity")

    place(1)
    assert eventually(counted, 1) == 1
    assert stack.emulator.kill_workers(stack.functions["Aggregate"]) == 1
    place(2)
    assert eventually(counted, 2) == 2


def test_warm_starts_the_process_that_counts_the_first_order_and_writes_nothing(
    own_emulator: Emulator, build: Path, unique: str, eventually: Callable[..., Any]
):
    stack = deploy(own_emulator, build)
    dynamodb = own_emulator.client("dynamodb")
    own_emulator.kill_workers()
    before = dynamodb.scan(TableName="TrendTable")["Items"], stack.log_entries("Aggregate")
    stack.warm()
    started = own_emulator.worker_pids(stack.functions["Aggregate"])
    assert len(started) == 1
    assert (dynamodb.scan(TableName="TrendTable")["Items"], stack.log_entries("Aggregate")) == before
    item = {"OrderID": {"S": unique}, "Product": {"S": unique}, "Quantity": {"N": "5"}}
    dynamodb.put_item(TableName=stack.tables["OrdersTable"], Item=item)
    assert eventually(lambda: Api(stack.api_url).get(f"/totals/{unique}").status, 200) == 200
    assert own_emulator.worker_pids(stack.functions["Aggregate"]) == started


# --- make local ----------------------------------------------------------------------------------


class MakeLocal:
    """A running `make local` on free ports."""

    def __init__(self, project: Path = PROJECT, **environment: str) -> None:
        self.http_port, self.aws_port = free_port(), free_port()
        ports = {"HTTP_PORT": str(self.http_port), "AWS_PORT": str(self.aws_port)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "localcloud"],
            cwd=project,
            env={**os.environ, **ports, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def wait_for_line(self, text: str) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.output += line
            if text in line:
                return
        pytest.fail(self.output)

    def end(self, number: int) -> int:
        """Send a signal, wait until `make local` ends, and return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        self.output += self._process.communicate(timeout=STOP_SECONDS)[0]
        return self._process.returncode

    def leftovers(self) -> list[str]:
        return processes(f"--port {self.http_port} ") + [
            str(port) for port in (self.http_port, self.aws_port) if listens(port)
        ]

    @property
    def api(self) -> Api:
        return Api(f"http://{HOST}:{self.http_port}")

    @property
    def dynamodb(self) -> Any:
        make: Any = boto3.client
        return make("dynamodb", endpoint_url=f"http://{HOST}:{self.aws_port}", **root_access())


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@contextlib.contextmanager
def make_local(project: Path = PROJECT, **environment: str) -> Iterator[MakeLocal]:
    run = MakeLocal(project, **environment)
    try:
        run.wait_for_line("Ctrl-C stops everything")
        yield run
    finally:
        run.end(signal.SIGTERM)


def paste(lines: str) -> list[str]:
    """Paste lines into a shell and return the output of each curl command."""
    curl = 'curl() { command curl --silent --write-out "\\n--\\n" "$@"; }\n'
    done = subprocess.run(["bash", "-c", curl + lines], capture_output=True, text=True, check=True)
    return done.stdout.split("\n--\n")[:-1]


@needs_curl
def test_first_commands_of_the_readme_pasted_together_print_what_it_shows():
    lines = re.search(r"^    curl -X POST .*\n    .*curl .*/totals/.*\n", README, re.MULTILINE)
    assert lines
    shown = re.search(r"^```json\n(.*\n.*\n)```$", README[lines.end() :], re.MULTILINE)
    assert shown
    with make_local() as run:
        for start in ("fresh", "after an edit"):
            placed, total = paste(lines[0].replace("localhost:8000", f"localhost:{run.http_port}"))
            if start == "fresh":
                assert without_ids_and_times(placed + total) == without_ids_and_times(shown[1])
                (PROJECT / "app.py").touch()
                run.wait_for_line("Starting chalice local")
        assert json.loads(total)["orderCount"] == 2


def without_ids_and_times(text: str) -> str:
    return without_times(re.sub(r'"orderId":"\w{26}"', '"orderId":"ID"', text))


@needs_curl
def test_printed_commands_work_and_nothing_is_left_running():
    with make_local() as run:
        commands = re.findall(r"^  (?:sleep 1; )?curl .*$", run.output, re.MULTILINE)
        assert len(commands) == 6
        printed = paste("\n".join(commands))
        # The last total is in DynamoDB's JSON: {"totalQuantity": {"N": "15"}}.
        totals = [re.search(r'"totalQuantity":\D*(\d+)', each) for each in printed[1::2]]
        assert [each and each[1] for each in totals] == ["5", "10", "15"], printed
        run.wait_for_line("✓ 1 order · Notebook +5 · ")
        assert run.end(signal.SIGINT) == 0
        assert run.leftovers() == []


def test_error_in_the_source_is_shown_without_library_frames(tmp_path: Path):
    project = copy_source(tmp_path / "project")
    with make_local(project) as run:
        model = project / "chalicelib" / "model.py"
        original = model.read_text()
        model.write_text(f"{original}\n\nraise ValueError('no view')\n")
        run.wait_for_line("Fix it and save")
        output = run.output.partition("The source has changed.")[2]
        assert "ValueError: no view" in output
        assert f'File "{model}"' in output
        assert "site-packages" not in output
        assert len(output.splitlines()) < 8
        model.write_text(original)
        run.wait_for_line("Starting chalice local")


def test_changed_source_is_redeployed():
    with make_local() as run:
        (PROJECT / "app.py").touch()
        run.wait_for_line("Starting chalice local")
        assert run.api.get("/totals").status == 200
        assert run.end(signal.SIGTERM) == 0
        assert "The source has changed." in run.output


def test_data_folder_keeps_orders_and_totals_and_counting_continues(tmp_path: Path, eventually: Callable[..., Any]):
    def total(run: MakeLocal) -> Any:
        return run.api.get("/totals/Notebook").json.get("totalQuantity")

    with make_local(DATA=str(tmp_path / "data")) as run:
        for number in (1, 2, 3):
            run.api.post("/orders", {"orderId": f"first-{number}", "product": "Notebook", "quantity": 5})
        assert eventually(lambda: total(run), 15) == 15
        assert run.end(signal.SIGTERM) == 0
    with make_local(DATA=str(tmp_path / "data")) as run:
        assert total(run) == 15
        # The first new record is counted. With its saved stream positions, the emulator would skip three records.
        run.api.post("/orders", {"product": "Notebook", "quantity": 1})
        assert eventually(lambda: total(run), 16) == 16
        assert run.api.get("/orders/first-1").json["counted"] is True


def test_nothing_is_left_running_if_it_is_killed(eventually: Callable[..., Any]):
    with make_local() as run:
        run.end(signal.SIGKILL)
        assert eventually(run.leftovers, []) == []


def suggested_ports(output: str) -> dict[str, int]:
    """Return the ports in the command at the end of a message."""
    command = re.search(r": make local ([A-Z0-9_= ]+)\n$", output)
    assert command, output
    return {name: int(port) for name, port in (each.split("=") for each in command[1].split())}


@pytest.mark.parametrize("variable", ["HTTP_PORT", "AWS_PORT"])
def test_taken_port_is_named_with_a_command_that_works(variable: str, taken: int):
    run = MakeLocal(PROJECT, **{variable: str(taken)})
    assert run.end(0) == 1
    assert run.output.startswith(
        f"Port {taken} on {HOST} is taken. Stop the program that uses it, or choose another port: "
    )
    ports = suggested_ports(run.output)
    assert ports.keys() == {"HTTP_PORT", "AWS_PORT"}
    assert ports[variable] > taken
    assert not any(listens(port) for port in ports.values())


def test_two_taken_ports_are_named_with_one_command_that_works(taken: int):
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        second = other.getsockname()[1]
        run = MakeLocal(PROJECT, HTTP_PORT=str(taken), AWS_PORT=str(second))
        assert run.end(0) == 1
        assert run.output.startswith(f"Ports {taken} and {second} on {HOST} are taken. Choose other ports: ")
        ports = suggested_ports(run.output)
        assert len({*ports.values(), taken, second}) == 4
        assert not any(listens(port) for port in ports.values())


def test_second_make_local_recognizes_the_first():
    with make_local() as first:
        second = MakeLocal(PROJECT, HTTP_PORT=str(first.http_port), AWS_PORT=str(first.aws_port))
        assert second.end(0) == 1
        already = (
            f"make local is already running at http://localhost:{first.http_port}. Use that one, or start a second one"
        )
        assert second.output.startswith(already)
        assert not any(listens(port) for port in suggested_ports(second.output).values())


def test_ctrl_c_during_imports_prints_no_traceback(tmp_path: Path):
    # Replace boto3, the first large import, with a module that prints a line on import and then sleeps.
    (tmp_path / "boto3.py").write_text("import time; print('importing', flush=True); time.sleep(600)")
    run = MakeLocal(PYTHONPATH=str(tmp_path))
    run.wait_for_line("importing")
    assert run.end(signal.SIGINT) == -signal.SIGINT
    assert run.output == "importing\n"


BROKEN_ROUTE = """

@app.route("/broken", methods=["GET"])
def broken() -> None:
    raise ValueError("This route is broken")
"""


def test_server_error_prints_one_line_and_its_traceback_goes_to_a_file(tmp_path: Path):
    project = copy_source(tmp_path / "project")
    with (project / "app.py").open("a") as app:
        app.write(BROKEN_ROUTE)
    with make_local(project) as run:
        assert run.api.get("/broken").status == 500
        run.wait_for_line("✗ /broken")
        log = f"build/local-{run.http_port}.log"
        line = f"✗ /broken: ValueError: This route is broken → {log}"
        assert run.output.splitlines()[-1] == line
        entry = json.loads((project / log).read_text())
        assert "Traceback (most recent call last)" in entry["exception"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HTTP_PORT": "eighty"}, "HTTP_PORT=eighty is not a port"),
        ({"AWS_PORT": "70000"}, "AWS_PORT=70000 is not a port"),
        ({"HTTP_PORT": "9000", "AWS_PORT": "9000"}, "are both 9000"),
        ({"DATA": __file__}, "is a file. Name a folder"),
    ],
)
def test_invalid_settings_are_named(environment: dict[str, str], message: str):
    run = MakeLocal(PROJECT, **environment)
    assert run.end(0) == 1
    assert message in run.output
    assert "Traceback" not in run.output


@pytest.fixture
def taken() -> Iterator[int]:
    """Listen on a free port and return its number."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]
