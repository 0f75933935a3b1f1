"""`make audit STAGE=prod`: check a stage's totals against its orders, show drift, and repair it with REPAIR=yes.

Safe to run during live traffic. EXIT_STATUS has the exit status for each verdict. It is 2 after an error and 130 after
Ctrl-C. `make` itself turns every status but 0 into 2.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chalicelib import tables
from chalicelib.jobs.audit import Verdict
from operations import stages
from operations.progress import Display, figures
from operations.stages import Function, Stage

# Each invocation returns after this time, so that the progress bar moves.
SECONDS_PER_INVOCATION = 10
ROWS_MAX = 20
EXIT_STATUS = {Verdict.CLEAN: 0, Verdict.DRIFTED: 1, Verdict.UNPROVEN: 3}


class AuditRun:
    """An audit of a stage, which takes several invocations."""

    def __init__(self, stage: Stage, function: Function, display: Display) -> None:
        self._function = function
        self._display = display
        self._estimates = {table: stage.item_count(table, function) for table in tables.KEYS}

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run the audit to the end and return its last result. Raise one of EXPECTED_ERRORS."""
        while True:
            result = self._function.invoke({**request, "seconds": SECONDS_PER_INVOCATION})
            if result["done"]:
                self._display.end()
                return result
            self._show(result["progress"])
            request = {"cursor": result["cursor"]}

    def _show(self, progress: dict[str, Any]) -> None:
        table = progress["table"] or "looking again"
        title = f"Counters, pass {progress['pass']}, {table}" if progress["pass"] else table
        self._display.update(title, progress["items"], self._estimates.get(table, 0))


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = stages.parser("make audit", "Check the ledger against OrdersTable, and the counters against the ledger.")
    parser.add_argument("--repair", action="store_true", help="repair drift")
    parser.add_argument(
        "--grace-period", type=int, metavar="SECONDS", help="the time that the stream may take for a change (10)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole result to a file")
    options = parser.parse_args(arguments)
    stopped = "Stopped. The data is consistent. Run it again to start over."
    return stages.run(lambda: _run(options, Console()), stopped, (*stages.EXPECTED_ERRORS, OSError))


def _run(options: argparse.Namespace, console: Console) -> int:
    request: dict[str, Any] = {"repair": options.repair}
    if options.grace_period is not None:
        request["gracePeriodSeconds"] = options.grace_period
    stage = stages.from_options(options)
    function = stage.function("audit")
    with Display(console) as display:
        result = AuditRun(stage, function, display).run(request)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    show(console, result, options.repair)
    return EXIT_STATUS[result["verdict"]]


# --- The result ----------------------------------------------------------------------------------


def show(console: Console, result: dict[str, Any], repair: bool) -> None:
    """Print the audit's result."""
    orders, counters = result["orders"], result["counters"]
    console.print(figures("Audit", [(text, result[part][name]) for part, name, text in COUNTS]))
    if orders["findings"]:
        console.print(order_findings(orders["findings"]))
    if counters["findings"]:
        console.print(counter_findings(counters["findings"]))
    if result["incompleteViews"]:
        names = ", ".join(result["incompleteViews"])
        console.print(f"Incomplete views: {names}. Run make backfill to count all orders in them.", markup=False)
    console.print(verdict(result, repair), style=STYLES[result["verdict"]], highlight=False)
    if result["verdict"] == Verdict.DRIFTED and not repair:
        console.print("With make: REPAIR=yes repairs drift, and make backfill counts orders for a new view.")


STYLES = {Verdict.CLEAN: "green", Verdict.DRIFTED: "bold red", Verdict.UNPROVEN: "bold yellow"}


ADVICE = {
    "clean": "Every order is in the ledger, and every total is the sum of the ledger.",
    "drifted": "Run the audit again with repair, or a backfill if a view was just added.",
    "stream behind": (
        "Nothing was repaired, because the stream handler was behind when the audit began."
        " Run the audit again in a minute, or in 15 minutes if the stream has stopped."
    ),
    "held": (
        "Some counters were not repaired, because orders that change them are in flight."
        " Wait a minute, then run the audit again."
    ),
    "not repaired": (
        "Not everything could be repaired. Run the repair again: it may have corrected a counter that kept orders from"
        " being counted. If that does not help, the findings name the orders and the reasons."
        " Restore or delete ledger entries that cannot be read."
    ),
    "in flight": (
        "Some orders differ from the ledger, but the stream may still deliver them."
        " Wait until it has caught up, or for 15 minutes if it has stopped, then run the audit again."
    ),
    "moving": (
        "Some counters changed during every pass, or a ledger entry cannot be read."
        " Run the audit again when fewer orders come in."
    ),
}
"""What to do next, by the result of the audit."""


def verdict(result: dict[str, Any], repair: bool) -> str:
    """Return the verdict and what to do next, in a few short sentences."""
    products = with_noun(result["driftedProducts"], "product")
    advice = ADVICE[reason(result, repair)]
    match result["verdict"]:
        case Verdict.CLEAN if result["driftedProducts"]:
            return f"Clean. Drift in {products} was repaired."
        case Verdict.CLEAN:
            return f"Clean. {advice}"
        case Verdict.DRIFTED:
            return f"Drift in {products}. {advice}"
    unproven = [
        with_noun(count, noun)
        for count, noun in ((result["orders"]["inFlight"], "order"), (result["counters"]["unverified"], "counter"))
        if count
    ]
    return f"Not proven: {' and '.join(unproven)}. {advice}"


def reason(result: dict[str, Any], repair: bool) -> str:
    """Return which advice fits a result, as a key of ADVICE."""
    match result["verdict"]:
        case Verdict.CLEAN:
            return "clean"
        case Verdict.UNPROVEN:
            return "in flight" if result["orders"]["inFlight"] else "moving"
    if not repair:
        return "drifted"
    if result["streamWasBehind"]:
        return "stream behind"
    return "held" if result["counters"]["held"] else "not repaired"


def with_noun(count: int, noun: str) -> str:
    """Return a count with its noun: `1 product`, `1,204 products`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


COUNTS = (
    ("orders", "checked", "Orders compared with the ledger"),
    ("orders", "missing", "  missing from the ledger"),
    ("orders", "differing", "  counted with other values"),
    ("orders", "orphaned", "  deleted, but still counted"),
    ("orders", "unreadable", "  with an unreadable ledger entry"),
    ("orders", "inFlight", "  in flight"),
    ("orders", "repaired", "  repaired"),
    ("orders", "uncountable", "  uncountable"),
    ("counters", "checked", "Counters compared with the ledger"),
    ("counters", "drifted", "  drifted"),
    ("counters", "repaired", "  repaired"),
    ("counters", "held", "  not repaired, because orders are in flight"),
    ("counters", "unverified", "  unverified"),
)
"""The counts in a result, and what the output calls them."""


def order_findings(findings: list[dict[str, Any]]) -> Table:
    """Return a table of the first orders whose ledger entry is wrong."""
    table = _table("Orders", "order", "finding", "counted as", "expected")
    for each in findings[:ROWS_MAX]:
        table.add_row(
            Text(each["orderId"]),
            each["finding"],
            Text(each.get("problem") or _contributions_text(each["ledger"])),
            Text(_contributions_text(each["expected"])),
        )
    return table


def _contributions_text(entry: dict[str, Any]) -> str:
    parts = [
        f"{' '.join(each['key'])}: {', '.join(f'{name} {amount}' for name, amount in each['amounts'].items())}"
        for each in entry["contributions"]
    ]
    return "\n".join([entry["status"], *parts])


def counter_findings(findings: list[dict[str, Any]]) -> Table:
    """Return a table of the first counters that have drifted."""
    table = _table("Counters", "table", "counter", "stored", "expected")
    for each in findings[:ROWS_MAX]:
        table.add_row(
            each["table"],
            Text(" ".join(each["key"])),
            _amounts(each["stored"]),
            _amounts(each["expected"]),
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _amounts(amounts: dict[str, Any]) -> str:
    return "\n".join(f"{name} {amount}" for name, amount in amounts.items())


if __name__ == "__main__":
    sys.exit(main())
