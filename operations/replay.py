"""`make replay STAGE=prod`: count the failed batches that Lambda stored in the bucket. Fix the cause first.

It sends each batch to the stream handler again, and deletes the batch when it is counted. Safe to repeat and to run
during live traffic, because the handler ignores records that are already counted. Exit status: 0 if no batch is left, 2
after an error or if one is left, 130 after Ctrl-C.
"""

import argparse
import json
import sys
import time
from typing import Any

from rich.console import Console

from infrastructure.template import BUCKET
from operations import stages
from operations.progress import Display
from operations.stages import Function, StageError

MAX_AGE_SECONDS = 21 * 24 * 60 * 60
"""The age up to which a record may be replayed. The tombstone of a cancelled order lives longer; without it, an older
record would count the order again. The bucket deletes batches before that."""


class ReplayRun:
    """Send each batch in the bucket to the stream handler."""

    def __init__(self, storage: Any, bucket: str, function: Function, display: Display) -> None:
        self.batches = self.records = 0
        self.left: dict[str, str] = {}
        """Why a batch could not be counted, by its key in the bucket."""
        self._storage = storage
        self._bucket = bucket
        self._function = function
        self._display = display

    def run(self) -> None:
        """Replay all batches, and delete those that are counted. Raise one of EXPECTED_ERRORS."""
        pages = self._storage.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        for done, key in enumerate(keys, start=1):
            body = self._storage.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            try:
                records = records_of(body, time.time())
                self._function.call({"Records": records})
            except StageError as error:
                self.left[key] = str(error)
            else:
                self._storage.delete_object(Bucket=self._bucket, Key=key)
                self.batches += 1
                self.records += len(records)
            self._display.update("Batches", done, len(keys))


def records_of(body: bytes, now: float) -> list[Any]:
    """Return the stream records in an object of the bucket. Raise StageError if they cannot be replayed.

    Lambda Developer Guide, "Retaining discarded records": `payload` is the whole event of the failed invocation.
    """
    try:
        payload = json.loads(body)["payload"]
        records: list[Any] = (json.loads(payload) if isinstance(payload, str) else payload)["Records"]
        oldest = min(float(record["dynamodb"]["ApproximateCreationDateTime"]) for record in records)
    except (ValueError, KeyError, TypeError):
        raise StageError("It is not a batch that Lambda stored. Remove it from the bucket.") from None
    if oldest < now - MAX_AGE_SECONDS:
        days = MAX_AGE_SECONDS // (24 * 60 * 60)
        raise StageError(f"It has records that are more than {days} days old. Run make audit with REPAIR=yes instead.")
    return records


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = stages.parser("make replay", "Count the batches of a stage that Lambda gave up and kept.")
    options = parser.parse_args(arguments)
    stopped = "Stopped. Batches counted so far are done. Run it again for the rest."
    return stages.run(lambda: _run(options, Console()), stopped)


def _run(options: argparse.Namespace, console: Console) -> int:
    stage = stages.from_options(options)
    function = stage.function("aggregate")
    with Display(console) as display:
        replay = ReplayRun(stage.client("s3"), stage.resource(BUCKET), function, display)
        replay.run()
        display.end()
    for key, reason in replay.left.items():
        console.print(f"{key} is left: {reason}", style="red", highlight=False, markup=False)
    console.print(f"Counted {replay.batches:,} batches with {replay.records:,} records; {len(replay.left):,} left.")
    return 2 if replay.left else 0


if __name__ == "__main__":
    sys.exit(main())
