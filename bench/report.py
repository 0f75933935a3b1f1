"""The results as tables, in Markdown that can be read in a terminal."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bench import costs

Results = dict[str, Any]
Row = dict[str, Any]

BUSY = "**The machine was busy with something else: the counts below hold, the times do not. Run it again.**"

KINDS = {"new": "New orders", "amended": "Amendments", "redelivered": "Redeliveries"}


def text(results: Results) -> str:
    """All of it."""
    machine = results["machine"]
    parts = [
        "# What an order costs",
        f"Written by `make bench` on {machine['cores']} cores, Python {machine['python']}, in {results['seconds']} s"
        f" (load before: {machine['load_before']}). All ways ran in one process against one emulator, which is another"
        " process and takes most of the wall time: ratios say more than microseconds.",
        *([BUSY] if machine["load_before"] > 1 else []),
        *(f"## {title}: what each costs\n\n{kind_table(results, kind)}" for kind, title in KINDS.items()),
        "“1,000 of 10” is a batch of 1,000 records over 10 products; ways that ask for each record by itself are shown"
        " by smaller ones. Requests are counted at botocore's `before-send` event. Units are what the answers say was"
        " consumed (`ReturnConsumedCapacity`); for refused requests and BatchGetItem, of which the emulator's answers"
        " say nothing, they follow from DynamoDB's rules. CPU is that of the handler's process. ADD and the guidance"
        " make little of amendments: see below.",
        "## What is shown, and what is true",
        correctness_table(results),
        "Faults are made to happen at each request in turn; the worst total is shown. “stuck”: the batch fails each"
        " time, and with it the shard.",
        "## A million new orders, on demand",
        cost_table(results),
        "## Goals",
        goal_table(results),
        why_memory_grows(results),
        "## The deployed app, on one machine with the emulator",
        deployed_table(results),
        "## Ours by batch size and products",
        size_table(results),
        "## Ours beside a ledger of",
        growth_table(results),
        "## A container of ours",
        container_table(results),
        "## The ways",
        "\n".join(f"- **{way['title']}**: {way['origin']}" for way in results["ways"].values()),
    ]
    return "\n\n".join(parts) + "\n"


def headline(results: Results, way: str, kind: str = "new") -> Row:
    """A way's figures in the batches that all are compared by."""
    wanted = {"way": way, **results["compared"][kind][way]}
    return next(row for row in results["batches"] if wanted.items() <= row.items())


def kind_table(results: Results, kind: str) -> str:
    """All ways for one kind of record."""
    rows = [
        [
            way["title"],
            f"{row['records']:,} of {row['products']}",
            f"{row['requests']:.3f}",
            f"{row['write_units']:.2f}",
            f"{row['read_units']:.2f}",
            f"{row['cpu_us']:,.0f}",
            f"{row['wall_us']:,.0f}",
            f"{1e6 / row['wall_us']:,.0f}" if row["requests"] else "ignored",
        ]
        for name, way in results["ways"].items()
        for row in [headline(results, name, kind)]
    ]
    if kind == "new":
        floor = results["floor"]
        rows.append(["the floor", "", f"{floor['requests']:.3f}", f"{floor['write_units']:.2f}", "0.00", "", "", ""])
    return table(["", "batch", "requests", "write units", "read units", "CPU µs", "wall µs", "orders/s"], rows)


def correctness_table(results: Results) -> str:
    """What each way shows, story by story."""
    rows: dict[str, list[str]] = {}
    for each in results["correctness"]:
        row = rows.setdefault(each["story"], [each["story"], str(each["truth"])])
        shown = f"{each['total']}" if each["total"] == each["truth"] else f"**{each['total']}**"
        row.append(f"{shown}, stuck" if each["stuck"] else shown)
    return table(["", "true", *(way["title"] for way in results["ways"].values())], rows.values())


def cost_table(results: Results) -> str:
    """What a million orders cost, with the arithmetic."""
    rows = []
    for name, way in results["ways"].items():
        row = headline(results, name)
        dollars = costs.dollars_per_million(row["write_units"], row["read_units"])
        rows.append([way["title"], arithmetic(row["write_units"], row["read_units"]), f"${dollars:.2f}"])
    floor = costs.FLOOR_WRITE_UNITS
    rows.append(["the floor", arithmetic(floor, 0), f"${costs.dollars_per_million(floor, 0):.2f}"])
    return table(["", "write units x price + read units x price", "together"], rows)


def arithmetic(write_units: float, read_units: float) -> str:
    """How the cost comes about."""
    return (
        f"{write_units:.2f} x ${costs.DOLLARS_PER_MILLION_WRITE_UNITS}"
        f" + {read_units:.2f} x ${costs.DOLLARS_PER_MILLION_READ_UNITS}"
    )


def goals(results: Results) -> list[tuple[str, float, Callable[[float], bool], str]]:
    """What we want of ourselves: in words, the figure, whether it will do, and the unit."""
    ours, add, marker = (headline(results, way) for way in ("ours", "update_item", "marker"))
    container = results["container"]
    memory = container["memory"]
    return [
        ("at least 8 times the throughput of one ADD per record", add["wall_us"] / ours["wall_us"], at_least(8), "x"),
        ("at least 50 times fewer requests than that", add["requests"] / ours["requests"], at_least(50), "x"),
        (
            "at most 0.6 of the write units of a marker per record",
            ours["write_units"] / marker["write_units"],
            at_most(0.6),
            "",
        ),
        ("planning in the core: at most 15 µs an order", container["planning_us"], at_most(15), " µs"),
        (
            "import: at most 40 ms more than boto3 and chalice",
            container["import_app_ms"] - container["import_bare_ms"],
            at_most(40),
            " ms",
        ),
        (
            "memory besides the event: no more for 10,000 records than for 1,000",
            memory[-1]["handler_bytes"] / memory[0]["handler_bytes"],
            at_most(1.5),
            "x",
        ),
    ]


def at_least(limit: float) -> Callable[[float], bool]:
    """Whether a figure is no lower."""
    return lambda figure: figure >= limit


def at_most(limit: float) -> Callable[[float], bool]:
    """Whether a figure is no higher."""
    return lambda figure: figure <= limit


def goal_table(results: Results) -> str:
    """The goals, and how we stand to them."""
    return table(
        ["", "here", ""],
        [
            [goal, f"{figure:.2f}{unit}", "met" if met(figure) else "**missed**"]
            for goal, figure, met, unit in goals(results)
        ],
    )


def why_memory_grows(results: Results) -> str:
    """Why the last goal is out of reach."""
    largest = results["container"]["memory"][-1]
    handler, event = (largest[name] / largest["records"] / 1e3 for name in ("handler_bytes", "event_bytes"))
    return (
        f"A batch is planned as a whole, so that all its orders of one product come together in few transactions: that"
        f" takes {handler:.1f} kB an order, beside {event:.1f} kB that the event takes. Both end with the 6 MB that"
        " Lambda sends at once."
    )


def deployed_table(results: Results) -> str:
    """From order to total."""
    latency = results["latency_ms"]
    rows = [
        [f"POST /orders to total, {latency['orders']} orders one by one: p50", f"{latency['p50']:.0f} ms"],
        ["the same: p99", f"{latency['p99']:.0f} ms"],
    ]
    kept = max((step["placed_per_second"] for step in results["throughput"] if step["kept_up"]), default=0)
    rows.append(["sustained, the most that was tried", f"{kept:,.0f} orders/s"])
    for step in results["throughput"]:
        verdict = "kept up" if step["kept_up"] else "fell behind"
        rows.append(
            [f"{step['placed_per_second']:,.0f} orders/s placed", f"{verdict}: {step['behind_orders']:,} on their way"]
        )
    return table(["", ""], rows)


def of_ours(results: Results) -> list[Row]:
    """Our figures, the smallest batches first."""
    rows = [row for row in results["batches"] if row["way"] == "ours"]
    return sorted(rows, key=lambda row: (list(KINDS).index(row["kind"]), row["records"], row["products"]))


def size_table(results: Results) -> str:
    """Ours, by batch size and number of products."""
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
        for row in of_ours(results)
    ]
    names = ["", "batch", "products", "requests a batch", "write units", "read units", "CPU µs", "wall µs"]
    return table(names, rows)


def growth_table(results: Results) -> str:
    """Ours, by the size of the ledger."""
    rows = [
        [
            f"{row['ledger_items']:,} entries",
            KINDS[row["kind"]],
            f"{row['requests'] * row['records']:,.0f}",
            f"{row['cpu_us']:,.0f}",
            f"{row['wall_us']:,.0f}",
        ]
        for row in results["growth"]
    ]
    return table(["", "", "requests a batch", "CPU µs", "wall µs"], rows)


def container_table(results: Results) -> str:
    """Cold start, package and memory."""
    measured, package = results["container"], results["package"]
    rows = [
        ["import of boto3 with a client, and chalice", f"{measured['import_bare_ms']:.0f} ms"],
        ["import of the app", f"{measured['import_app_ms']:.0f} ms"],
        ["planning, without requests", f"{measured['planning_us']:.1f} µs an order"],
        ["package, zipped (unzipped)", f"{size(package['zipped_bytes'])} ({size(package['unzipped_bytes'])})"],
    ]
    for each in measured["memory"]:
        rows += [
            [f"{each['records']:,} records: the event as JSON", size(each["payload_bytes"])],
            [f"{each['records']:,} records: the event in memory", size(each["event_bytes"])],
            [f"{each['records']:,} records: the handler besides, at its peak", size(each["handler_bytes"])],
        ]
    return table(["", ""], rows)


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, its columns aligned; numbers to the right."""
    body = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in [list(names), *body]) for column in range(len(names))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| " + " | ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]) + " |"
        for cells in [list(names), rule, *body]
    )
