"""Start and stop `chalice local`, which serves the routes from the source and uses the emulator's tables."""

import sys
from collections.abc import Mapping
from pathlib import Path

from infrastructure.local_stage import HOST, root_environment
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT, Server, clean_environment, free_port

START_SECONDS = 60.0


class ChaliceLocal(Server):
    """A running `chalice local`. It serves only the routes; the stack's stream handler does the counting."""

    def __init__(
        self,
        emulator: Emulator,
        port: int | None = None,
        *,
        stage: str = "local",
        variables: Mapping[str, str] | None = None,
        project: Path = PROJECT,
    ) -> None:
        """Start `chalice local` on a port, by default a free one, and wait until it responds.

        `variables` are extra environment variables, such as the names of other tables.
        """
        port = port or free_port()
        self.url = f"http://{HOST}:{port}"
        environment = {**clean_environment(), **root_environment(emulator.endpoint_url), **(variables or {})}
        command = [
            *(sys.executable, "-c", "import sys; from chalice.cli import main; sys.exit(main())"),
            *("local", "--stage", stage, "--host", HOST, "--port", str(port)),
            "--no-autoreload",  # Autoreload would watch every file in the folder, including .venv.
        ]
        super().__init__("chalice-local", port, command, environment, project)
        try:
            self.wait_until_up(f"{self.url}/totals", START_SECONDS)
        except BaseException:
            self.stop()
            raise
