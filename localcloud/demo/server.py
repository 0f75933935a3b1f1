"""Serve the demo's page and its small API on 127.0.0.1: the state as JSON, and a POST for each step."""

import json
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import dashboard
from infrastructure.local_stage import HOST
from localcloud.demo.cloud import DemoError
from localcloud.demo.steps import STEPS, Demo

HERE = Path(__file__).parent
FILES = ("page.html", "style.css", "script.js")
JSON = {"Content-Type": "application/json"}


class DemoServer(ThreadingHTTPServer):
    """A server that runs until the end of its `with` block."""

    daemon_threads = True

    def __init__(self, demo: Demo, port: int) -> None:
        super().__init__((HOST, port), _Requests)
        self.demo = demo
        body, style, script = [(HERE / name).read_text(encoding="utf-8") for name in FILES]
        self.page = dashboard.build_page("Plain ADD or Order Totals?", body, style, script)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an error with its traceback, but not if the browser has closed the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Requests(BaseHTTPRequestHandler):
    server: DemoServer

    def do_GET(self) -> None:
        """Serve the page at / and the state at /state."""
        if self.path == "/":
            self._respond(200, self.server.page.body, self.server.page.headers)
        else:
            self._respond_with_state(None, is_found=self.path == "/state")

    def do_POST(self) -> None:
        """Carry out the step in the path, such as /steps/place, and return the new state."""
        step = self.path.removeprefix("/steps/")
        # Require JSON, because browsers do not let pages of other sites send it to this server.
        self._respond_with_state(step, step in STEPS and self.headers["Content-Type"] == "application/json")

    def _respond_with_state(self, step: str | None, is_found: bool) -> None:
        demo = self.server.demo
        try:
            if not is_found:
                raise DemoError(f"There is no {self.path} for {self.command} with this Content-Type.")
            if step:
                demo.run(step)
            # Read the columns last, so that they include every step in the log.
            state: dict[str, Any] = {"running": demo.lock.locked()}
            state["log"] = [{**done._asdict(), "columns": done.columns._asdict()} for done in demo.log]
            state["columns"] = demo.cloud.columns()._asdict()
        except (DemoError, BotoCoreError, ClientError) as error:
            self._respond(400, json.dumps({"problem": str(error)}), JSON)
        else:
            self._respond(200, json.dumps(state), JSON)

    def _respond(self, status: int, body: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Print nothing."""
