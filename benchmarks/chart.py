"""The result of `make bench` as a bar chart: `python -m benchmarks.chart FILE.svg` takes its JSON from standard input.

The same result gives the same bytes.
"""

import json
import sys
from typing import Any

import matplotlib
from matplotlib.figure import Figure

OURS, OTHERS = "#1f6feb", "#8c959f"


def draw(result: dict[str, Any], path: str) -> None:
    """Write the bars of CPU time an event, the lowest at the top, as an SVG."""
    rows = sorted((row["cpu_us"], name, row["title"]) for name, row in result["rows"].items() if "cpu_us" in row)[::-1]
    figure = Figure(figsize=(10, 0.45 * len(rows) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    costs = [cost for cost, _, _ in rows]
    bars = axes.barh([title for _, _, title in rows], costs, color=[OURS if name == "sluice" else OTHERS for _, name, _ in rows])
    axes.bar_label(bars, labels=[f"{cost:,.1f}" for cost in costs], padding=4)
    axes.set_xscale("log")
    axes.set_xlim(1, max(costs) * 3)
    axes.set_xlabel(f"CPU microseconds an event of {result['bytes_per_event']} bytes, logarithmic; less is better")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    matplotlib.rcParams["svg.hashsalt"] = "sluice"
    matplotlib.rcParams["svg.fonttype"] = "none"
    draw(json.load(sys.stdin), sys.argv[1])
