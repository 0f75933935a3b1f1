"""`chalice local` as a server: the routes, run from the source, on the tables of the emulator."""

import sys
from collections.abc import Mapping
from pathlib import Path

from localcloud.emulator import Emulator, root_environment
from localcloud.servers import HOST, PROJECT, Server, clean_environment, free_port

START_SECONDS = 60.0


class ChaliceLocal(Server):
    """A running `chalice local`. It serves the routes alone: the stream handler is the stack's."""

    def __init__(
        self,
        emulator: Emulator,
        port: int | None = None,
        *,
        stage: str = "local",
        variables: Mapping[str, str] | None = None,
        project: Path = PROJECT,
    ) -> None:
        """Starts it on a port, by default a free one, and waits until it is up.

        `variables` are further environment variables, such as names of other tables than the stage's.
        """
        port = port or free_port()
        self.url = f"http://{HOST}:{port}"
        environment = {**clean_environment(), **root_environment(emulator.endpoint_url), **(variables or {})}
        command = [
            *(sys.executable, "-c", "import sys; from chalice.cli import main; sys.exit(main())"),
            *("local", "--stage", stage, "--host", HOST, "--port", str(port)),
            "--no-autoreload",  # Which watches every file of the folder, .venv and all.
        ]
        super().__init__("chalice-local", port, command, environment, project)
        try:
            self.wait(f"{self.url}/totals", START_SECONDS)
        except BaseException:
            self.stop()
            raise
