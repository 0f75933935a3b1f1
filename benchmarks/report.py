"""Write docs/bench.md from the results. Its Markdown tables are readable in a terminal too."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks import contenders, costs

Results = dict[str, Any]
Row = dict[str, Any]

BUSY = (
    "**Other processes were using this machine during the run. The counts below are right, the times are not"
    " reliable: run `make bench` again.**"
)

SIZES = (1, 100, 1_000)
"""The batch sizes that the report shows. A batch has at most 1,000 records."""

KINDS = {"new": "New orders", "amended": "Amendments", "redelivered": "Redeliveries"}


def text(results: Results) -> str:
    """Return the whole report as Markdown."""
    machine = results["machine"]
    parts = [
        "# What an order costs",
        f"Written by `make bench` on {machine['cores']} cores with Python {machine['python']}, in"
        f" {results['seconds']} s (load average before the run: {machine['load_before']}). All contenders ran in one"
        " process against one emulator. The emulator is a process of its own and takes most of the elapsed time, so"
        " compare ratios rather than microseconds.",
        *([BUSY] if machine["load_before"] > 1 else []),
        *(f"## {title}: cost per order\n\n{kind_table(results, kind)}" for kind, title in KINDS.items()),
        "“The floor” is the minimum for an atomic record of each order: one transaction for 98 orders and two counters."
        " “1,000 of 10” is a batch of 1,000 records over 10 products. Contenders that send requests for each record"
        " may be measured in smaller batches: the requests per order are the same. Requests are counted at botocore's"
        " `before-send` event. Units are taken from the results (`ReturnConsumedCapacity`), and calculated by"
        " DynamoDB's rules for rejected writes and BatchGetItem, where the emulator reports none. CPU is that of the"
        " handler's process. ADD and the guidance do not count amendments (see the next section), so"
        " their low cost there is not comparable. “Per million” is the price of the units of a million orders, on"
        f" demand in us-east-1: ${costs.DOLLARS_PER_MILLION_WRITE_UNITS} for a million write units and"
        f" ${costs.DOLLARS_PER_MILLION_READ_UNITS} for a million read units.",
        "## Correctness: each contender's total",
        correctness_table(results),
        "Wrong totals are bold. Lost responses and crashes are injected at each request in turn, and the worst total"
        " is shown. “stuck”: the batch fails on every delivery and blocks its shard.",
        "## Goals",
        goal_table(results),
        "## The deployed app, on one machine with the emulator",
        deployed_table(results),
        "## Order Totals by batch size and products",
        size_table(results),
        "## Order Totals by ledger size",
        growth_table(results),
        "## A Lambda container of Order Totals",
        container_table(results),
        "## The contenders",
        "\n".join(f"- **{each.title}**: {each.origin}" for each in map(contenders.describe, results["contenders"])),
    ]
    return "\n\n".join(parts) + "\n"


def headline(results: Results, contender: str, kind: str = "new") -> Row:
    """Return a contender's figures for the case that the report compares."""
    wanted = {"contender": contender, **results["compared"][kind][contender]}
    return next(row for row in results["batches"] if wanted.items() <= row.items())


def kind_table(results: Results, kind: str) -> str:
    """Return the table of all contenders for one kind of record."""
    rows = [
        [
            contender["title"],
            f"{row['records']:,} of {row['products']}",
            f"{row['requests']:.3f}",
            f"{row['write_units']:.2f}",
            f"{row['read_units']:.2f}",
            f"${costs.dollars_per_million(row['write_units'], row['read_units']):.2f}",
            f"{row['cpu_us']:,.0f}",
            f"{row['wall_us']:,.0f}",
            f"{1e6 / row['wall_us']:,.0f}" if row["requests"] else "ignored",
        ]
        for name, contender in results["contenders"].items()
        for row in [headline(results, name, kind)]
    ]
    if kind == "new":
        floor = results["floor"]
        dollars = f"${costs.dollars_per_million(floor['write_units'], 0):.2f}"
        cells = [f"{floor['requests']:.3f}", f"{floor['write_units']:.2f}", "0.00", dollars]
        rows.append(["the floor", "", *cells, "", "", ""])
    return table(
        ["", "batch", "requests", "write units", "read units", "per million", "CPU µs", "wall µs", "orders/s"], rows
    )


def correctness_table(results: Results) -> str:
    """Return the table of totals by scenario and contender."""
    rows: dict[str, list[str]] = {}
    for each in results["correctness"]:
        row = rows.setdefault(each["scenario"], [each["scenario"], str(each["truth"])])
        total = f"{each['total']}" if each["total"] == each["truth"] else f"**{each['total']}**"
        row.append(f"{total}, stuck" if each["stuck"] else total)
    titles = [contender["title"] for contender in results["contenders"].values()]
    return table(["", "true total", *titles], rows.values())


def goals(results: Results) -> list[tuple[str, float, Callable[[float], bool], str]]:
    """Return the goals. Each has a text, the measured figure, a test for the figure, and a unit."""
    ours, add, marker = (headline(results, name) for name in ("ours", "update_item", "marker"))
    container = results["container"]
    return [
        ("at least 8 times the throughput of one ADD per record", add["wall_us"] / ours["wall_us"], at_least(8), "x"),
        (
            "at most 1/50 of the requests of one ADD per record",
            add["requests"] / ours["requests"],
            at_least(50),
            "x fewer",
        ),
        (
            "at most 0.6 times the write units of a marker per record",
            ours["write_units"] / marker["write_units"],
            at_most(0.6),
            "",
        ),
        ("planning in the core: at most 15 µs per order", container["planning_us"], at_most(15), " µs"),
        (
            "import: at most 40 ms more than boto3 and chalice alone",
            container["import_app_ms"] - container["import_bare_ms"],
            at_most(40),
            " ms",
        ),
    ]


def at_least(limit: float) -> Callable[[float], bool]:
    """Return a test that a figure is not below the limit."""
    return lambda figure: figure >= limit


def at_most(limit: float) -> Callable[[float], bool]:
    """Return a test that a figure is not above the limit."""
    return lambda figure: figure <= limit


def goal_table(results: Results) -> str:
    """Return the table of goals, which says whether each is met or missed."""
    return table(
        ["", "measured", ""],
        [
            [goal, f"{figure:.2f}{unit}", "met" if met(figure) else "**missed**"]
            for goal, figure, met, unit in goals(results)
        ],
    )


def deployed_table(results: Results) -> str:
    """Return the table of latency and throughput."""
    latency = results["latency_ms"]
    rows = [
        [
            f"POST /orders to total, {latency['orders']} orders one after another: p50",
            f"{latency['p50']:.0f} ms",
        ],
        ["the same: p99", f"{latency['p99']:.0f} ms"],
    ]
    highest = max((step["placed_per_second"] for step in results["throughput"] if step["kept_up"]), default=0)
    rows.append(["highest rate that it kept up with", f"{highest:,.0f} orders/s"])
    return table(["", ""], rows)


def our_rows(results: Results) -> list[Row]:
    """Return the figures of Order Totals by kind of record, with the smallest batches first."""
    rows = [row for row in results["batches"] if row["contender"] == "ours"]
    return sorted(rows, key=lambda row: (list(KINDS).index(row["kind"]), row["records"], row["products"]))


def size_table(results: Results) -> str:
    """Return the table of Order Totals by batch size and number of products."""
    rows = [
        [
            KINDS[row["kind"]],
            f"{row['records']:,}",
            f"{row['products']:,}",
            f"{row['requests'] * row['records']:,.0f}",
            f"{row['write_units']:.2f}",
            f"{row['read_units']:.2f}",
            f"{row['cpu_us']:,.0f}",
            f"{row['wall_us']:,.0f}",
        ]
        for row in our_rows(results)
        if row["records"] in SIZES
    ]
    names = ["", "batch", "products", "requests per batch", "write units", "read units", "CPU µs", "wall µs"]
    return table(names, rows)


def growth_table(results: Results) -> str:
    """Return the table of Order Totals by ledger size."""
    rows = [
        [
            f"{row['ledger_items']:,} entries",
            KINDS[row["kind"]],
            f"{row['requests'] * row['records']:,.0f}",
            f"{row['cpu_us']:,.0f}",
            f"{row['wall_us']:,.0f}",
        ]
        for row in results["growth"]
        if row["ledger_items"] in (results["growth"][0]["ledger_items"], results["growth"][-1]["ledger_items"])
    ]
    return table(["", "", "requests per batch", "CPU µs", "wall µs"], rows)


def container_table(results: Results) -> str:
    """Return the table of import time, package size and memory."""
    measured, package = results["container"], results["package"]
    rows = [
        ["import of boto3 with a client, and of chalice", f"{measured['import_bare_ms']:.0f} ms"],
        ["import of the app", f"{measured['import_app_ms']:.0f} ms"],
        ["planning, without requests", f"{measured['planning_us']:.1f} µs per order"],
        ["package, zipped (unzipped)", f"{size(package['zipped_bytes'])} ({size(package['unzipped_bytes'])})"],
    ]
    for each in measured["memory"]:
        rows += [
            [f"{each['records']:,} records: the event in memory", size(each["event_bytes"])],
            [f"{each['records']:,} records: what the handler adds, at its peak", size(each["handler_bytes"])],
        ]
    return table(["", ""], rows)


def size(count: float) -> str:
    """Format a number of bytes."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns; all but the first are right-aligned."""
    body = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in [list(names), *body]) for column in range(len(names))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| " + " | ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]) + " |"
        for cells in [list(names), rule, *body]
    )
