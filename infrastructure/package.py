"""`make package STAGE=prod`: package the whole app as one SAM template and one zip, in build/prod/.

Chalice writes the template and merges the additions of template.py into it. Afterwards policy.py gives each
function its own role, and access.py adds what the API's access settings need.
"""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from chalicelib.api.access import ORIGIN_VARIABLE, READ_VARIABLE, WRITE_VARIABLE, Access
from infrastructure import access, chalice_config, policy, template
from infrastructure.tables import StreamView, protection

PROJECT = Path(__file__).resolve().parent.parent
# Only the stage's environment_variables may set these. The shell's values are ignored.
STAGE_VARIABLES = {READ_VARIABLE, WRITE_VARIABLE, ORIGIN_VARIABLE}
LOCK = PROJECT / "requirements-local.lock"
TEMPLATE = "sam.json"
CODE = "deployment.zip"


class PackageError(Exception):
    """Packaging the app failed. The message is Chalice's output or says what to do."""


def package(
    stage: str,
    folder: Path,
    *,
    project: Path = PROJECT,
    stream: StreamView = "NEW_AND_OLD_IMAGES",
) -> Path:
    """Package the app in `project` into `folder`, replacing its content. Return the path of the template."""
    config = chalice_config.load(project)
    settings = chalice_config.stage_settings(config, stage)
    require_access(stage, {**config.get("environment_variables", {}), **settings.get("environment_variables", {})})
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    merge = folder / "merge.json"
    if not LOCK.exists():
        raise PackageError(f"{LOCK} is missing. Restore it from git, or run make lock.")
    additions = template.additions(
        stage,
        stream=stream,
        api_stage=settings.get("api_gateway_stage", chalice_config.DEFAULT_API_STAGE),
    )
    merge.write_text(json.dumps(additions, indent=2), encoding="utf-8")
    arguments = ["--stage", stage, "--merge-template", str(merge.resolve()), str(folder.resolve())]
    _chalice(project, "package", *arguments)
    merge.unlink()
    if compiled := compiled_files(folder / CODE):
        raise PackageError(
            f"The libraries contain compiled code ({compiled[0]}), which may not run on Lambda. "
            "Use pure Python libraries in requirements.txt."
        )
    packaged = read_template(folder / TEMPLATE)
    template.complete(packaged)
    access.add(packaged, stage)
    try:
        policy.add_roles(packaged, {template.STREAM_FUNCTION: template.destination_statements()})
    except policy.PolicyError as error:
        raise PackageError(str(error)) from None
    (folder / TEMPLATE).write_text(json.dumps(packaged, indent=2) + "\n", encoding="utf-8")
    return folder / TEMPLATE


def require_access(stage: str, variables: Mapping[str, str]) -> None:
    """Raise PackageError if a stage that may hold production data does not state who may call its API."""
    if protection(stage).deletion_protection and not {READ_VARIABLE, WRITE_VARIABLE} <= variables.keys():
        raise PackageError(
            f"Stage {stage} does not state who may call its API. In .chalice/config.json, set {READ_VARIABLE} and "
            f"{WRITE_VARIABLE} in the stage's environment_variables to {', '.join(Access)} (docs/access.md)."
        )


def package_current_source(stage: str, folder: Path) -> None:
    """Package the app in a new process, so that it imports the current source. Raise PackageError."""
    command = [sys.executable, "-m", "infrastructure.package", "--stage", stage, "--folder", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackageError(app_frames(done.stderr, PROJECT))


def app_frames(output: str, project: Path) -> str:
    """Shorten a traceback in the output to the last frame in the app's own code and the error."""
    lines = output.strip().splitlines()
    own = [
        number
        for number, line in enumerate(lines)
        if line.lstrip().startswith((f'File "{project}/app.py"', f'File "{project}/chalicelib/'))
    ]
    return "\n".join(lines[own[-1] :]) if own else output.strip()


def compiled_files(code: Path) -> list[str]:
    """Return the compiled files in a zip, which run only on one processor and one version of Python."""
    with zipfile.ZipFile(code) as files:
        return [name for name in files.namelist() if name.endswith((".so", ".pyd"))]


def read_template(template_file: Path) -> dict[str, Any]:
    """Return the content of a packaged template."""
    packaged: dict[str, Any] = json.loads(template_file.read_text(encoding="utf-8"))
    return packaged


def _chalice(project: Path, *arguments: str) -> None:
    # Importing the app creates a client, which needs a region, although packaging calls no service.
    inherited = {name: value for name, value in os.environ.items() if name not in STAGE_VARIABLES}
    # pip installs only the locked versions, and only files with the locked hashes.
    pip = {"PIP_CONSTRAINT": LOCK.as_uri(), "PIP_REQUIRE_HASHES": "1"}
    environment = {"AWS_DEFAULT_REGION": "us-east-1", **inherited, **pip}
    with _exclusive(project):
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from chalice.cli import main; sys.exit(main())", *arguments],
            cwd=project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode:
        raise PackageError(f"chalice {arguments[0]} failed:\n{app_frames(done.stdout, project)}")


@contextmanager
def _exclusive(project: Path) -> Iterator[None]:
    """Lock a project during packaging, because Chalice writes every zip to the same temporary file."""
    folder = project / ".chalice" / "deployments"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Closing the file releases the lock.
        _delete_packages_of_another_lock(folder)
        yield


def _delete_packages_of_another_lock(folder: Path) -> None:
    """Delete Chalice's cached zips of libraries if the locked versions or hashes have changed."""
    made_with = folder / "made-with.lock"
    if not made_with.exists() or made_with.read_bytes() != LOCK.read_bytes():
        for kept in folder.glob("*.zip"):
            kept.unlink()
        shutil.copy(LOCK, made_with)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="make package", description="Write the app's SAM template and code.")
    parser.add_argument("--stage", required=True, help="a stage of .chalice/config.json: dev, prod")
    parser.add_argument(
        "--stream",
        choices=get_args(StreamView),
        default="NEW_AND_OLD_IMAGES",
        help="what the stream's records contain; the app supports both, and a change creates a new stream",
    )
    parser.add_argument("--folder", type=Path, help="the output folder; build/STAGE by default")
    options = parser.parse_args(arguments)
    stage = options.stage
    folder = (options.folder or PROJECT / "build" / stage).resolve()
    try:
        package(stage, folder, stream=options.stream)
    except (PackageError, chalice_config.ConfigError) as error:
        print(error, file=sys.stderr)
        return 1
    shown = folder.relative_to(PROJECT) if folder.is_relative_to(PROJECT) else folder
    print(
        f"""Wrote {shown / TEMPLATE} and {CODE}. To deploy them:

  aws cloudformation package --template-file {shown / TEMPLATE} \\
      --s3-bucket YOUR-BUCKET --output-template-file {shown}/packaged.yaml
  aws cloudformation deploy --template-file {shown}/packaged.yaml --stack-name order-totals-{stage} \\
      --s3-bucket YOUR-BUCKET --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \\
      --tags app=order-totals stage={stage}"""
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
