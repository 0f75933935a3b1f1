"""Draw the charts of the results as SVG files, without a background, in colours that work on light and dark pages."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks import costs, report

Results = dict[str, Any]

INK = "#6e7781"  # Colours with a contrast of 4:1 on white and on GitHub's dark theme.
OURS = "#2da44e"
OTHERS = "#8b949e"
FLOOR = "#cf222e"
LINES = ("#2da44e", "#0969da", "#bf8700")
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",  # A fixed salt for the ids in the SVG, so that the same results always give the same file.
}


def draw(results: Results, folder: Path) -> None:
    """Write bench.svg and bench-growth.svg to a folder."""
    with mpl.rc_context(STYLE):
        save(comparison(results), folder / "bench.svg")
        save(growth(results), folder / "bench-growth.svg")


def save(figure: Any, path: Path) -> None:
    """Write a figure to an SVG file and close it."""
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)


def comparison(results: Results) -> Any:
    """Return the figure that compares the contenders."""
    titles = {name: contender["title"] for name, contender in results["contenders"].items()}
    rows = {title: report.headline(results, name) for name, title in titles.items()}
    batch = results["compared"]["new"]["ours"]
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.6), sharey=True, layout="constrained")
    figure.suptitle(
        f"New orders in batches of {batch['records']:,} over {batch['products']} products", x=0.01, ha="left"
    )
    bars(axes[0], "orders/s on this machine", {title: 1e6 / row["wall_us"] for title, row in rows.items()}, "{:,.0f}")
    requests = {title: row["requests"] for title, row in rows.items()}
    bars(axes[1], "requests per order", requests, "{:.3g}", costs.FLOOR_REQUESTS)
    write_units = {title: row["write_units"] for title, row in rows.items()}
    bars(axes[2], "write units per order", write_units, "{:.2f}", costs.FLOOR_WRITE_UNITS)
    wrong = dict.fromkeys(rows, 0.0)
    for each in results["correctness"]:
        wrong[titles[each["contender"]]] += each["stuck"] or each["total"] != each["truth"]
    scenarios = len({each["scenario"] for each in results["correctness"]})
    bars(axes[3], f"wrong or stuck in {scenarios} scenarios", wrong, "{:.0f}")
    return figure


def bars(axes: Axes, title: str, values: dict[str, float], form: str, floor: float | None = None) -> None:
    """Draw one bar per contender, with Order Totals on top, and a line for the lowest possible value."""
    axes.set_title(title)
    drawn = axes.barh(list(values), list(values.values()), color=[OURS, *[OTHERS] * (len(values) - 1)], height=0.6)
    axes.bar_label(drawn, [form.format(value) for value in values.values()], padding=3, color=INK)
    axes.set_xlim(0, max(values.values()) * 1.3 or 1)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    if floor is not None:
        axes.axvline(floor, color=FLOOR, linestyle=":", linewidth=1.2)
        axes.annotate("floor", (floor, len(values) - 0.45), color=FLOOR, ha="center", va="top", annotation_clip=False)


def growth(results: Results) -> Any:
    """Return the figure that shows how the cost grows with the batch and with the ledger."""
    ours = [row for row in report.our_rows(results) if row["kind"] == "new"]
    figure, axes = plt.subplots(1, 3, figsize=(11, 2.9), layout="constrained")
    by_products = sorted({row["products"] for row in ours})
    for products, colour in zip(by_products, LINES, strict=False):
        rows = [row for row in ours if row["products"] == products]
        label = f"{products:,} product{'s' * (products > 1)}"
        sizes = [row["records"] for row in rows]
        axes[0].plot(sizes, [row["wall_us"] * row["records"] / 1e3 for row in rows], "o-", color=colour, label=label)
        axes[1].plot(sizes, [row["requests"] * row["records"] for row in rows], "o-", color=colour, label=label)
    for axis, title in ((axes[0], "ms per batch"), (axes[1], "requests per batch")):
        axis.set(title=title, xlabel="new orders per batch", xscale="log", yscale="log")
    axes[1].legend()
    for kind, colour in zip(("new", "amended"), LINES, strict=False):
        rows = [row for row in results["growth"] if row["kind"] == kind]
        sizes = [row["ledger_items"] for row in rows]
        axes[2].plot(sizes, [row["wall_us"] for row in rows], "o-", color=colour, label=report.KINDS[kind].lower())
    axes[2].set(title="µs per order, by ledger size", xlabel="entries in the ledger", xscale="log")
    axes[2].set_ylim(0, 1.4 * max(row["wall_us"] for row in results["growth"]))
    axes[2].legend()
    for axis in (*(each.xaxis for each in axes), axes[0].yaxis, axes[1].yaxis):
        axis.set_major_formatter(lambda value, _position: f"{value:,.15g}")
        axis.set_minor_formatter("")
    return figure
