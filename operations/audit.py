"""`make audit STAGE=prod`: proves a stage's totals to the end, shows what is wrong, and repairs it with REPAIR=yes.

Runs beside live traffic. The exit status is that of the verdict in EXIT_STATUS, 2 if something went wrong, and 130
after Ctrl-C. (make itself ends with 2 for each of these but 0.)
"""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chalicelib import tables
from chalicelib.jobs.audit import Verdict
from chalicelib.views import VIEWS
from operations import stage as stages
from operations.display import Display
from operations.stage import Function, Stage

SECONDS_PER_INVOCATION = 10
SHOWN = 20
EXIT_STATUS = {Verdict.CLEAN: 0, Verdict.DRIFTED: 1, Verdict.UNPROVEN: 3}


class Run:
    """An audit from cursor to cursor."""

    def __init__(self, stage: Stage, function: Function, display: Display) -> None:
        self._function = function
        self._display = display
        self._about = {table: stage.item_count(table, function) for table in tables.KEYS}

    def to_the_end(self, request: dict[str, Any]) -> dict[str, Any]:
        """Runs it; returns the last answer. Raises what EXPECTED names."""
        while True:
            answer = self._function.invoke({**request, "seconds": SECONDS_PER_INVOCATION})
            if answer["done"]:
                self._display.end()
                return answer
            self._show(answer["progress"])
            request = {"cursor": answer["cursor"]}

    def _show(self, progress: dict[str, Any]) -> None:
        if progress["proof"] == "orders":
            self._display.show(progress["table"], progress["items"], self._about[progress["table"]])
            return
        stage = progress["phase"]
        slice_ = f" {progress['partition']}/{progress['partitions']}" if progress["partitions"] > 1 else ""
        ledger = stage in ("sum", "screen sum")
        about = self._about[tables.LEDGER] if ledger else sum(self._about[table] for table in VIEWS)
        self._display.show(
            f"Counters{slice_}, pass {progress['pass']}, {stage}",
            progress["items"],
            about if ledger or progress["pass"] == 1 else 0,
        )


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = stages.parser("make audit", "Proves the totals: the ledger against OrdersTable, the counters against it.")
    parser.add_argument("--repair", action="store_true", help="mend what is wrong")
    parser.add_argument("--patience", type=int, help="seconds in which the stream may settle a difference (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole result there")
    asked = parser.parse_args(arguments)
    console = Console()
    request: dict[str, Any] = {"repair": asked.repair}
    if asked.patience is not None:
        request["gracePeriodSeconds"] = asked.patience
    try:
        stage = stages.of(asked)
        function = stage.function("audit")
        with Display(console) as display:
            answer = Run(stage, function, display).to_the_end(request)
        if asked.json:
            asked.json.write_text(json.dumps(answer, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except (*stages.EXPECTED, OSError) as error:
        Console(stderr=True).print(str(error), style="red", highlight=False, markup=False)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. Nothing is half done; run it again to start anew.")
        return 130
    show(console, answer, asked.repair)
    return EXIT_STATUS[answer["verdict"]]


# --- The result ----------------------------------------------------------------------------------


def show(console: Console, answer: dict[str, Any], repair: bool) -> None:
    """Prints what was found."""
    orders, counters = answer["orders"], answer["counters"]
    console.print(figures(orders, counters))
    if orders["findings"]:
        console.print(order_findings(orders["findings"]))
    if counters["findings"]:
        console.print(counter_findings(counters["findings"]))
    if counters["moving"]:
        console.print(moving(counters["moving"]))
    console.print(verdict(answer), style=STYLES[answer["verdict"]], highlight=False)
    if answer["verdict"] == Verdict.DRIFTED and not repair:
        console.print("To repair it: the same command with REPAIR=yes. After adding a view: make backfill.")


STYLES = {Verdict.CLEAN: "green", Verdict.DRIFTED: "bold red", Verdict.UNPROVEN: "bold yellow"}


def verdict(answer: dict[str, Any]) -> str:
    """Return the verdict and what to do next, in a few short sentences."""
    products = counted(answer["driftedProducts"], "product")
    match answer["verdict"]:
        case Verdict.CLEAN if answer["driftedProducts"]:
            return f"Clean. Drift in {products} was repaired."
        case Verdict.CLEAN:
            return f"Clean. {answer['advice']}"
        case Verdict.DRIFTED:
            return f"Drift in {products}. {answer['advice']}"
    unproven = [
        counted(number, name)
        for number, name in ((answer["orders"]["inFlight"], "order"), (answer["counters"]["unverified"], "counter"))
        if number
    ]
    return f"Not proven: {' and '.join(unproven)}. {answer['advice']}"


def counted(number: int, name: str) -> str:
    """Return a number with its noun: `1 product`, `1,204 products`."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def figures(orders: dict[str, Any], counters: dict[str, Any]) -> Table:
    """All counts."""
    table = Table(title="Audit", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, figure in (
        ("Orders compared with the ledger", orders["checked"]),
        ("  missing in the ledger", orders["missing"]),
        ("  counted for something else", orders["differing"]),
        ("  in the ledger, but gone", orders["orphaned"]),
        ("  with an unreadable ledger entry", orders["unreadable"]),
        ("  in flight", orders["inFlight"]),
        ("  repaired", orders["repaired"]),
        ("  that cannot be counted", orders["uncountable"]),
        ("Counters compared with the ledger", counters["checked"]),
        ("  wrong", counters["drifted"]),
        ("  repaired", counters["repaired"]),
        ("  not repaired, since orders are in flight", counters["held"]),
        ("  not proven", counters["unverified"]),
        ("Contributions to views that are no more", counters["retired"]),
    ):
        table.add_row(name, f"{figure:,}")
    return table


def order_findings(findings: list[dict[str, Any]]) -> Table:
    """The first orders with which the ledger does not agree."""
    table = _table("Orders", "order", "finding", "counted for", "should be")
    for each in findings[:SHOWN]:
        table.add_row(
            Text(each["orderId"]),
            each["finding"],
            Text(each.get("problem") or _counted_for(each["ledger"])),
            Text(_counted_for(each["expected"])),
        )
    return table


def _counted_for(entry: dict[str, Any]) -> str:
    parts = [
        f"{' '.join(each['key'])}: {', '.join(f'{name} {amount}' for name, amount in each['amounts'].items())}"
        for each in entry["contributions"]
    ]
    return "\n".join([entry["status"], *parts])


def counter_findings(findings: list[dict[str, Any]]) -> Table:
    """The first counters that are wrong."""
    table = _table("Counters", "table", "counter", "stored", "expected", "orders")
    for each in findings[:SHOWN]:
        some = ", ".join(each["orders"]["some"][:3])
        table.add_row(
            each["table"],
            Text(" ".join(each["key"])),
            _amounts(each["stored"]),
            _amounts(each["expected"]),
            Text(f"{each['orders']['count']:,}: {some}" if some else "none"),
        )
    return table


def moving(findings: list[dict[str, Any]]) -> Table:
    """Return the first counters that are not proven, and by what they may be wrong, if orders were only added."""
    table = _table("Not proven", "table", "counter", "stored minus the sum of the entries")
    for each in findings[:SHOWN]:
        bounds = "\n".join(f"{name} {low} to {high}" for name, (low, high) in each["between"].items())
        table.add_row(each["table"], Text(" ".join(each["key"])), bounds)
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
