"""Turn the results into docs/bench.md and README's table: Markdown whose tables are also readable in a terminal."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks import contenders, scenarios, units
from benchmarks.scenarios import HEADLINE_PRODUCTS, Case, Kind, Sizes
from benchmarks.units import Usage

Results = dict[str, Any]

FLOOR = Usage(requests=1 / 98, write_units=2.0)
"""The minimum for an atomic record of each order: one transaction for 98 orders and two counters."""
LATENCY_MS = 10
"""The latency with which contenders are compared."""
GOAL_SPEEDS = ((10, 0, 8), (10, 10, 45), (1_000, 10, 14), (10, 20, 75))
"""Products, latency in ms, and how many times ADD's orders per second Order Totals should reach."""
README_TABLE = re.compile(r"(<!-- make bench writes this table -->\n).*?(\n<!-- end -->)", re.DOTALL)


class Figures:
    """The figures of the results by case."""

    def __init__(self, results: Results) -> None:
        self.titles = {name: contenders.describe(name).title for name in contenders.NAMES}
        sizes: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in results["sizes"].items()}
        self.sizes = Sizes(**sizes)
        self.scenarios = len({each["scenario"] for each in results["correctness"]})
        self._results = results
        self._counts = {_case(row): Usage(*[row[name] for name in Usage._fields]) for row in results["counts"]}
        self._times = [{_case(row): row for row in run["times"]} for run in results["runs"]]

    def busy(self, name: str, kind: Kind = "new", products: int = HEADLINE_PRODUCTS, latency_ms: int = 0) -> Case:
        """Return the busy batch with which a contender is compared."""
        return scenarios.busy_case(name, kind, self.sizes, products, latency_ms)

    def usage(self, case: Case) -> Usage:
        """Return what one order consumes."""
        return self._counts[case]

    def lone(self, name: str) -> Usage:
        """Return what a new order consumes that is alone in its batch."""
        return self._counts[Case(name, "new", 1, 1)]

    def cpu_us(self, case: Case) -> list[float]:
        """Return the CPU time per order of each run, in microseconds."""
        return [run[case]["cpu_us"] for run in self._times]

    def orders_per_second(self, case: Case) -> list[float]:
        """Return the orders per second of each run."""
        return [1e6 / run[case]["wall_us"] for run in self._times]

    def ratios(self, kind: Kind, products: int, latency_ms: int) -> list[float]:
        """Return, for each run, how many times as many orders per second Order Totals counts as ADD per record.

        ADD ignores amendments, so they are compared with its new orders.
        """
        ours = self.orders_per_second(self.busy("ours", kind, products, latency_ms))
        add = self.orders_per_second(self.busy("add", "new", latency_ms=latency_ms))
        return [own / other for own, other in zip(ours, add, strict=True)]

    def container(self, name: str) -> list[float]:
        """Return a figure of the container from each run."""
        return [run["container"][name] for run in self._results["runs"]]

    def wrong(self, name: str) -> int:
        """Return in how many scenarios a contender's total is wrong, or its shard stuck."""
        return sum(each["contender"] == name and is_wrong(each) for each in self._results["correctness"])


def is_wrong(outcome: dict[str, Any]) -> bool:
    """Return whether a total is wrong, or the shard stuck."""
    return bool(outcome["stuck"] or outcome["total"] != outcome["truth"])


def _case(row: dict[str, Any]) -> Case:
    return Case(**{name: row[name] for name in Case._fields})


# --- docs/bench.md -------------------------------------------------------------------------------


def text(results: Results) -> str:
    """Return the whole report as Markdown."""
    figures, machine, memory = Figures(results), results["machine"], results["memory"]
    small, large = results["growth"][0]["entries"], results["growth"][-1]["entries"]
    sizes = figures.sizes
    parts = [
        "# What an order costs",
        f"Written by `make bench` on {machine['date']}: {machine['cpu']}, {machine['cores']} cores, Python"
        f" {machine['python']}. Times are ranges over three runs in one command, on an otherwise idle machine. The"
        " emulator shares it, so compare ratios. AWS was not measured.",
        "![Wrong totals, prices and speed of the contenders](bench.svg)",
        "## Right or wrong",
        correctness_table(results, figures),
        "All are right for new orders. Faults come at each request in turn; the worst total is shown. “Stuck”: the"
        " batch fails on every delivery and blocks its shard.",
        "## Cost",
        cost_table(figures),
        "Write units of an order, and the price of a million: on demand in us-east-1,"
        f" ${units.DOLLARS_PER_MILLION_WRITES} per million write units, ${units.DOLLARS_PER_MILLION_READS} per million"
        f" read units. Busy: {sizes.busy:,} orders of {HEADLINE_PRODUCTS} products in a batch. Lone: one. ADD and the"
        " guidance ignore amendments. `make cost` calculates a month's bill.",
        "## Speed of a shard",
        "Orders per second as a multiple of ADD per record's, by the time added to each request:",
        latency_table(figures),
        "All contenders, and their CPU per order:",
        speed_table(figures),
        "## Goals",
        table(["", "measured", ""], [[goal.text, goal.measured, goal.verdict] for goal in goals(figures)]),
        "## How cost grows",
        "![Price of counting a million orders by batch size, products, views, ledger, shards and"
        " viewers](bench-growth.svg)",
        f"Calculated with the app's own packing; the ledger, of {small:,} and {large:,} entries, is counted.",
        f"The app is imported in {span(figures.container('import_app_ms'))} ms, boto3 and chalice alone in"
        f" {span(figures.container('import_bare_ms'))}. {sizes.memory:,} orders take"
        f" {memory['event_bytes'] / 1e6:.0f} MB as an event, and {memory['handler_bytes'] / 1e6:.0f} MB more in the"
        " handler.",
        "## How it is measured",
        "Units come from the results, or from DynamoDB's rules where the emulator reports none (rejected writes,"
        " BatchGetItem). Handlers that send the same requests for each record get batches of"
        f" {sizes.busy_per_record}, or {sizes.delayed_per_record} with latency, which a proxy adds. For “11 minutes"
        " apart” the token is changed, as DynamoDB would have forgotten it.",
        "## The contenders",
        "\n".join(f"- **{each.title}**: {each.origin}" for each in map(contenders.describe, contenders.NAMES)),
    ]
    return "\n\n".join(parts) + "\n"


def correctness_table(results: Results, figures: Figures) -> str:
    """Return the table of totals by scenario and contender."""
    rows: dict[str, dict[str, str]] = {}
    for each in results["correctness"]:
        row = rows.setdefault(each["scenario"], {"truth": str(each["truth"])})
        total = f"**{each['total']}**" if is_wrong(each) else str(each["total"])
        row[each["contender"]] = f"{total}, stuck" if each["stuck"] else total
    del rows[scenarios.NEW_ORDERS.title]
    cells = [[scenario, row["truth"], *[row[name] for name in figures.titles]] for scenario, row in rows.items()]
    return table(["", "truth", *figures.titles.values()], cells)


def cost_table(figures: Figures) -> str:
    """Return the table of what an order costs, busy and lone."""
    rows = []
    for name, title in figures.titles.items():
        new, amended, redelivered = (figures.usage(figures.busy(name, kind)) for kind in scenarios.KINDS)
        lone = figures.lone(name)
        units_and_price = [f"{new.write_units:.2f}", dollars(new), f"{lone.write_units:.2f}", dollars(lone)]
        rows.append([title, f"{new.requests:.3f}", *units_and_price, dollars(amended), dollars(redelivered)])
    rows.append(["the floor", f"{FLOOR.requests:.3f}", f"{FLOOR.write_units:.2f}", dollars(FLOOR), *[""] * 4])
    return table(["", "requests", "units, busy", "busy", "units, lone", "lone", "amended", "redelivered"], rows)


def latency_table(figures: Figures) -> str:
    """Return the table of Order Totals' speed, as ratios to ADD, by latency and products."""
    latencies = (0, *figures.sizes.latencies_ms)
    rows = [
        [f"{kind}, {products:,} products", *[f"{span(figures.ratios(kind, products, each))}×" for each in latencies]]
        for kind in scenarios.KINDS
        if kind != "redelivered"
        for products in figures.sizes.products
    ]
    return table(["", *[f"{latency} ms" for latency in latencies]], rows)


def speed_table(figures: Figures) -> str:
    """Return the table of all contenders' speed and CPU."""
    rows = []
    for name, title in figures.titles.items():
        speed = span(figures.orders_per_second(figures.busy(name, latency_ms=LATENCY_MS)))
        lone = [each / 1000 for each in figures.cpu_us(Case(name, "new", 1, 1))]
        rows.append([title, speed, span(figures.cpu_us(figures.busy(name))), span(lone, 1)])
    return table(["", f"orders/s, {LATENCY_MS} ms", "CPU µs, busy", "CPU ms, lone"], rows)


# --- Goals ---------------------------------------------------------------------------------------


class Goal(NamedTuple):
    """A goal, and what each run measured."""

    text: str
    values: Sequence[float]
    limit: float
    at_least: bool = True
    digits: int = 0

    @property
    def measured(self) -> str:
        """The range of the runs."""
        return span(self.values, self.digits)

    @property
    def verdict(self) -> str:
        """Whether every run met the goal."""
        if not self.values:
            return "not measured"
        met = min(self.values) >= self.limit if self.at_least else max(self.values) <= self.limit
        return "met" if met else "**missed**"


def goals(figures: Figures) -> list[Goal]:
    """Return the goals. Those for a size that was not measured are left out."""
    ours, add, marker = (figures.busy(name) for name in ("ours", "add", "marker"))
    requests = figures.usage(add).requests / figures.usage(ours).requests
    share = figures.usage(ours).write_units / figures.usage(marker).write_units
    cpu = [other / own for own, other in zip(figures.cpu_us(ours), figures.cpu_us(add), strict=True)]
    lone = [each / 1000 for each in figures.cpu_us(Case("ours", "new", 1, 1))]
    imports = zip(figures.container("import_app_ms"), figures.container("import_bare_ms"), strict=True)
    return [
        Goal("wrong totals: none", [figures.wrong("ours")], 0, at_least=False),
        Goal("ADD's requests: at least 50×", [requests], 50),
        Goal("write units: at most 0.6 of a marker's", [share], 0.6, at_least=False, digits=2),
        *[
            Goal(
                f"speed, {products:,} products, {latency} ms: at least {limit}× ADD",
                figures.ratios("new", products, latency),
                limit,
                digits=1,
            )
            for products, latency, limit in GOAL_SPEEDS
            if products in figures.sizes.products and latency in (0, *figures.sizes.latencies_ms)
        ],
        Goal("ADD's CPU: at least 20×", cpu, 20),
        Goal("CPU of a lone order: at most 3 ms", lone, 3, at_least=False, digits=1),
        Goal("planning an order: at most 15 µs", figures.container("planning_us"), 15, at_least=False, digits=1),
        Goal("import: at most 40 ms over boto3, chalice", [a - b for a, b in imports], 40, at_least=False),
    ]


# --- README --------------------------------------------------------------------------------------


def in_readme(results: Results, readme: str) -> str:
    """Return README's text with its table replaced. Raise ValueError if the place for it is missing."""
    changed, found = README_TABLE.subn(lambda match: match[1] + readme_table(results) + match[2], readme)
    if found != 1:
        raise ValueError("README.md must have the two comments around the table of `make bench` once.")
    return changed


def readme_table(results: Results) -> str:
    """Return the table for the README: right or wrong, then cost, then speed."""
    figures = Figures(results)
    rows = [
        [
            title,
            f"{figures.wrong(name)} of {figures.scenarios}",
            dollars(figures.usage(figures.busy(name))),
            dollars(figures.lone(name)),
            span(figures.orders_per_second(figures.busy(name, latency_ms=LATENCY_MS))),
        ]
        for name, title in figures.titles.items()
    ]
    rows.append(["the minimum for an atomic record of each order", "", dollars(FLOOR), "", ""])
    return table(["", "wrong totals", "a million, busy", "a million, lone", "orders/s"], rows)


# --- Text ----------------------------------------------------------------------------------------


def dollars(usage: Usage) -> str:
    """Return the price of a million times these units."""
    return f"${usage.dollars:.2f}"


def span(values: Sequence[float], digits: int = 0) -> str:
    """Return the range of the values, one number if they look the same, or "?" if there are none."""
    if not values:
        return "?"
    low, high = (f"{value:,.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns; all but the first are right-aligned."""
    body = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in [list(names), *body]) for column in range(len(names))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| " + " | ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]) + " |"
        for cells in [list(names), rule, *body]
    )
