"""Draw the charts of the results as SVG files, without a background, in colours that work on light and dark pages."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks import bill
from benchmarks.report import FLOOR, LATENCY_MS, Figures, Results

INK = "#6e7781"  # Colours with a contrast of 4:1 on white and on GitHub's dark theme.
OURS = "#2da44e"
OTHERS = "#8b949e"
FLOOR_COLOUR = "#cf222e"
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
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",  # A fixed salt for the ids in the SVG, so that the same results always give the same file.
}


def draw(results: Results, folder: Path) -> None:
    """Write bench.svg and bench-growth.svg to a folder."""
    with mpl.rc_context(STYLE):
        for name, figure in (("bench", comparison(results)), ("bench-growth", growth(results))):
            figure.savefig(folder / f"{name}.svg", format="svg", transparent=True, metadata={"Date": None})
            plt.close(figure)


def comparison(results: Results) -> Any:
    """Return the figure that compares the contenders: wrong totals, then cost, then speed."""
    figures = Figures(results)
    names, titles = list(figures.titles), list(figures.titles.values())
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.8), sharey=True, layout="constrained")
    busy = [figures.usage(figures.busy(name)).dollars for name in names]
    speeds = [min(figures.orders_per_second(figures.busy(name, latency_ms=LATENCY_MS)), default=0) for name in names]
    wrong = [figures.wrong(name) for name in names]
    bars(axes[0], f"wrong in {figures.scenarios} scenarios", titles, wrong, "{:.0f}")
    bars(axes[1], "a million orders, busy", titles, busy, "${:.2f}", FLOOR.dollars)
    bars(axes[2], "a million lone orders", titles, [figures.lone(name).dollars for name in names], "${:.2f}")
    bars(axes[3], f"orders/s of a shard, +{LATENCY_MS} ms", titles, speeds, "{:,.0f}")
    return figure


def bars(axes: Axes, title: str, names: list[str], values: Any, form: str, floor: float | None = None) -> None:
    """Draw one bar per contender, Order Totals on top, and the floor as a line."""
    axes.set_title(title)
    drawn = axes.barh(names, values, color=[OURS, *[OTHERS] * (len(values) - 1)], height=0.6)
    axes.bar_label(drawn, [form.format(value) for value in values], padding=3, color=INK)
    axes.set_xlim(0, max(values) * 1.35 or 1)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    if floor is not None:
        axes.axvline(floor, color=FLOOR_COLOUR, linestyle=":", linewidth=1.2)
        place = (floor, len(values) - 0.45)
        axes.annotate("floor", place, color=FLOOR_COLOUR, ha="center", va="top", annotation_clip=False)


def growth(results: Results) -> Any:
    """Return the figure that shows how the price of counting a million orders grows."""
    figure, axes = plt.subplots(1, 6, figsize=(13, 2.4), sharey=True, layout="constrained")
    for axis, (title, points) in zip(axes, bill.growth(results).items(), strict=True):
        axis.plot(list(points), list(points.values()), "o-", color=OURS, markersize=4)
        axis.set(title=title, xscale="log", ylim=(0, None))
        axis.set_xticks(list(points), [f"{value:,}" for value in points])
        axis.xaxis.set_minor_formatter("")
        axis.yaxis.set_major_formatter(lambda value, _position: f"${value:.0f}")
    return figure
