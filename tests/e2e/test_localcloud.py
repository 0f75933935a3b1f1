"""The local cloud itself: servers that cannot be left behind, deployments, and `make local` as a whole."""

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
from tests.projects import add_view, copy_source, view_example

STOP_SECONDS = 60
README = (PROJECT / "README.md").read_text(encoding="utf-8")

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")


def processes(mark: str) -> list[str]:
    """The command lines of running processes that have this text in them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if mark in line and int(process.name) != os.getpid():
                found.append(line)
    return found


# --- Servers -------------------------------------------------------------------------------------

# Serves, and has a child of its own that would sleep on.
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


def test_stopping_a_server_stops_what_it_has_started_and_clears_its_folder(unique: str):
    server = start(unique)
    assert len(processes(unique)) == 3  # The guard, the server and its child.
    server.stop()
    assert processes(unique) == []
    assert not server.folder.exists()
    server.stop()


def test_a_server_does_not_outlive_one_who_is_killed_without_warning(unique: str, eventually: Callable[..., Any]):
    asker = f"from tests.e2e.test_localcloud import start; import time; start({unique!r}); print('up', flush=True); "
    asking = subprocess.Popen(
        [sys.executable, "-c", asker + "time.sleep(600)"], stdout=subprocess.PIPE, cwd=PROJECT, text=True
    )
    assert asking.stdout
    assert asking.stdout.readline() == "up\n"
    asking.kill()
    asking.wait()
    asking.stdout.close()
    assert eventually(lambda: processes(unique), []) == []


def test_a_server_that_ends_at_once_is_reported_with_what_it_said():
    command = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    server = Server("test", free_port(), command, clean_environment(), PROJECT)
    with server, pytest.raises(ServerError, match="no such luck"):
        server.wait_until_up(f"http://{HOST}:{server.port}/")


def test_a_server_is_not_started_on_a_port_that_is_taken(taken: int):
    with pytest.raises(PortTakenError, match=f"Port {taken} "):
        Emulator(taken)


def test_servers_know_nothing_of_a_real_account(monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "PYTHONPATH", "LAMBDA_EXECUTOR"):
        monkeypatch.setenv(name, "x")
    left = clean_environment()
    assert {name for name in left if name.startswith(("AWS_", "PYTHON", "LAMBDA_"))} == {
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
    }
    assert left["AWS_CONFIG_FILE"] == left["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert left["PATH"] == os.environ["PATH"]


# --- Deployments ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_emulator() -> Iterator[Emulator]:
    """An emulator of its own, in which tests may deploy what they like."""
    with Emulator() as running:
        yield running


def test_the_generated_policy_is_enforced_and_a_second_deployment_replaces_the_first(
    own_emulator: Emulator, build: Path
):
    def without_scan(template: dict[str, Any]) -> None:
        policy = template["Resources"]["DefaultRole"]["Properties"]["Policies"][0]["PolicyDocument"]
        policy["Statement"][0]["Action"].remove("dynamodb:Scan")

    with pytest.raises(FunctionError, match="not authorized to perform: dynamodb:Scan"):
        deploy(own_emulator, build, change=without_scan).invoke("Backfill")
    assert deploy(own_emulator, build).invoke("Backfill")["done"] is True


def test_a_batch_that_keeps_failing_goes_to_the_failure_queue_and_a_backfill_counts_it(
    own_emulator: Emulator, build: Path, unique: str, eventually: Callable[..., Any]
):
    def without_ledger(template: dict[str, Any]) -> None:
        template["Globals"]["Function"]["Environment"]["Variables"]["LEDGER_TABLE"] = "NoTable"
        event = template["Resources"]["Aggregate"]["Properties"]["Events"]["AggregateDynamodbEventSource"]
        event["Properties"]["MaximumRecordAgeInSeconds"] = 1  # The emulator gives up by age alone.

    stack = deploy(own_emulator, build, change=without_ledger)
    item = {"OrderID": {"S": unique}, "Product": {"S": unique}, "Quantity": {"N": "5"}}
    own_emulator.client("dynamodb").put_item(TableName=stack.tables["OrdersTable"], Item=item)
    queue = stack.resources["FailureQueue"]
    given_up = own_emulator.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"]
    assert '"batchSize": 1' in given_up[0]["Body"]

    repaired = deploy(own_emulator, build)
    assert Api(repaired.api_url).get(f"/totals/{unique}").status == 404
    repaired.invoke("Backfill")
    assert Api(repaired.api_url).get(f"/totals/{unique}").json["totalQuantity"] == 5


def test_services_get_their_paths_as_ever(own_emulator: Emulator):
    storage = own_emulator.client("s3")
    storage.create_bucket(Bucket="paths")
    storage.put_object(Bucket="paths", Key="a b/%2F/ü", Body=b"here")
    assert [each["Key"] for each in storage.list_objects_v2(Bucket="paths")["Contents"]] == ["a b/%2F/ü"]
    assert storage.get_object(Bucket="paths", Key="a b/%2F/ü")["Body"].read() == b"here"


def test_what_cloudformation_refuses_is_said(own_emulator: Emulator, build: Path):
    def nonsense(template: dict[str, Any]) -> None:
        template["Resources"]["Nonsense"] = {"Type": "AWS::No::Such", "Properties": {}}

    with pytest.raises(DeployError, match=r"Nonsense|AWS::No::Such"):
        deploy(own_emulator, build, "nonsense", change=nonsense)


def test_a_killed_worker_loses_no_order(
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


def test_a_warmed_stream_handler_counts_the_first_order_and_writes_nothing_before(
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


# --- The whole of it -----------------------------------------------------------------------------


class MakeLocal:
    """A run of what `make local` runs, on free ports."""

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
        """Sends a signal; returns the exit status. Fails if anything is left that listens or runs."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        self.output += self._process.communicate(timeout=STOP_SECONDS)[0]
        return self._process.returncode

    def left_behind(self) -> list[str]:
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
    """Run lines as one paste into a shell; return what they printed, one text for each curl."""
    curl = 'curl() { command curl --silent --write-out "\\n--\\n" "$@"; }\n'
    done = subprocess.run(["bash", "-c", curl + lines], capture_output=True, text=True, check=True)
    return done.stdout.split("\n--\n")[:-1]


@needs_curl
def test_the_first_lines_of_the_readme_work_as_one_paste_into_a_fresh_start():
    lines = re.search(r"^    curl -X POST .*\n    .*curl .*/totals/.*\n", README, re.MULTILINE)
    assert lines
    with make_local() as run:
        for start in ("fresh", "after an edit"):
            placed, total = paste(lines[0].replace("localhost:8000", f"localhost:{run.http_port}"))
            assert '"orderId":' in placed
            assert json.loads(total)["orderCount"] == (1 if start == "fresh" else 2), start
            if start == "fresh":
                (PROJECT / "app.py").touch()
                run.wait_for_line("Starting chalice local")


@needs_curl
def test_all_that_it_says_to_try_works_and_it_leaves_nothing_behind():
    with make_local() as run:
        tries = re.findall(r"^  (?:sleep 1; )?curl .*$", run.output, re.MULTILINE)
        assert len(tries) == 6
        printed = paste("\n".join(tries))
        # The last one is DynamoDB's: {"totalQuantity": {"N": "15"}}.
        totals = [re.search(r'"totalQuantity":\D*(\d+)', each) for each in printed[1::2]]
        assert [each and each[1] for each in totals] == ["5", "10", "15"], printed
        run.wait_for_line('"message":"Batch"')
        assert run.end(signal.SIGINT) == 0
        assert run.left_behind() == []


def test_a_view_is_added_while_it_runs(tmp_path: Path, eventually: Callable[..., Any]):
    project = copy_source(tmp_path / "project")
    with make_local(project) as run:
        run.api.post("/orders", {"product": "Notebook", "quantity": 5})
        add_view(project, view_example("README.md"))
        run.wait_for_line("Starting chalice local")
        run.api.post("/orders", {"product": "Notebook", "quantity": 2})
        assert eventually(lambda: run.api.get("/totals/Notebook").json.get("totalQuantity"), 7) == 7
        (month,) = run.dynamodb.scan(TableName="MonthTable")["Items"]
        assert month["total"]["N"] == "2"


def test_an_error_in_the_source_is_shown_without_the_frames_of_the_tools(tmp_path: Path):
    project = copy_source(tmp_path / "project")
    with make_local(project) as run:
        views = project / "chalicelib" / "views.py"
        right = views.read_text()
        views.write_text(f"{right}\n\nraise ValueError('no view')\n")
        run.wait_for_line("Fix it and save")
        said = run.output.partition("The source has changed.")[2]
        assert "ValueError: no view" in said
        assert f'File "{views}"' in said
        assert "site-packages" not in said
        assert len(said.splitlines()) < 8
        views.write_text(right)
        run.wait_for_line("Starting chalice local")


def test_a_change_of_the_source_is_taken_up():
    with make_local() as run:
        (PROJECT / "app.py").touch()
        run.wait_for_line("Starting chalice local")
        assert run.api.get("/totals").status == 200
        assert run.end(signal.SIGTERM) == 0
        assert "The source has changed." in run.output


def test_with_a_folder_for_it_orders_and_totals_are_there_again_and_counting_goes_on(
    tmp_path: Path, eventually: Callable[..., Any]
):
    def total(run: MakeLocal) -> Any:
        return run.api.get("/totals/Notebook").json.get("totalQuantity")

    with make_local(DATA=str(tmp_path / "data")) as run:
        for number in (1, 2, 3):
            run.api.post("/orders", {"orderId": f"first-{number}", "product": "Notebook", "quantity": 5})
        assert eventually(lambda: total(run), 15) == 15
        assert run.end(signal.SIGTERM) == 0
    with make_local(DATA=str(tmp_path / "data")) as run:
        assert total(run) == 15
        # The very first new record already: the emulator's own idea of where it was would skip three.
        run.api.post("/orders", {"product": "Notebook", "quantity": 1})
        assert eventually(lambda: total(run), 16) == 16
        assert run.api.get("/orders/first-1").json["counted"] is True


def test_killed_without_warning_it_leaves_nothing_behind_all_the_same(eventually: Callable[..., Any]):
    with make_local() as run:
        run.end(signal.SIGKILL)
        assert eventually(run.left_behind, []) == []


def advised(output: str) -> dict[str, int]:
    """Return the ports of the command that a message ends with."""
    command = re.search(r": make local ([A-Z0-9_= ]+)\n$", output)
    assert command, output
    return {name: int(port) for name, port in (each.split("=") for each in command[1].split())}


@pytest.mark.parametrize("variable", ["HTTP_PORT", "AWS_PORT"])
def test_a_taken_port_is_named_with_a_command_that_works(variable: str, taken: int):
    run = MakeLocal(PROJECT, **{variable: str(taken)})
    assert run.end(0) == 1
    assert run.output.startswith(
        f"Port {taken} on {HOST} is taken. Stop the program that listens there, or use another"
    )
    ports = advised(run.output)
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
        assert run.output.startswith(f"Ports {taken} and {second} on {HOST} are taken. ")
        ports = advised(run.output)
        assert len({*ports.values(), taken, second}) == 4
        assert not any(listens(port) for port in ports.values())


def test_a_second_make_local_recognizes_the_first():
    with make_local() as first:
        second = MakeLocal(PROJECT, HTTP_PORT=str(first.http_port), AWS_PORT=str(first.aws_port))
        assert second.end(0) == 1
        already = (
            f"make local is already running at http://localhost:{first.http_port}. Use that one, or start a second one"
        )
        assert second.output.startswith(already)
        assert not any(listens(port) for port in advised(second.output).values())


def test_ctrl_c_while_modules_are_imported_prints_no_traceback(tmp_path: Path):
    # In place of boto3, the first large import: a module that reports when it is imported, and then takes its time.
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


def test_a_server_error_of_a_route_is_one_short_line_and_its_traceback_is_in_a_file(tmp_path: Path):
    project = copy_source(tmp_path / "project")
    with (project / "app.py").open("a") as app:
        app.write(BROKEN_ROUTE)
    with make_local(project) as run:
        assert run.api.get("/broken").status == 500
        run.wait_for_line("ERROR")
        log = f"build/local-{run.http_port}.log"
        line = f"ERROR Caught exception for path /broken: ValueError: This route is broken (traceback in {log})"
        assert run.output.splitlines()[-1] == line
        entry = json.loads((project / log).read_text())
        assert "Traceback (most recent call last)" in entry["exception"]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HTTP_PORT": "eighty"}, "HTTP_PORT=eighty is not a port"),
        ({"AWS_PORT": "70000"}, "AWS_PORT=70000 is not a port"),
        ({"HTTP_PORT": "9000", "AWS_PORT": "9000"}, "are both 9000"),
        ({"DATA": __file__}, "is a file: give a folder"),
    ],
)
def test_settings_that_make_no_sense_are_named(environment: dict[str, str], said: str):
    run = MakeLocal(PROJECT, **environment)
    assert run.end(0) == 1
    assert said in run.output
    assert "Traceback" not in run.output


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]
