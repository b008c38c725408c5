"""The chart of a run's timeline: what the driver and the workers did, and when."""

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from flat_dist.report.charts import SIZE, Chart, render_chart
from flat_dist.runtime.timeline import PHASES, Phase, Span

COLOURS: dict[Phase, str] = dict(
    zip(
        PHASES,
        ("#7d828a", "#a07800", "#b8a25c", "#1a80c4", "#d55e00", "#56b0a0", "#009e73", "#b8568f"),
        strict=True,
    )
)

MOST_WORKERS = 24
"""Workers that are drawn; a cluster's first ones stand for all."""

ROW = 0.28
"""Height of a process's row, in inches."""


def timeline_charts(processes: Mapping[str, Sequence[Span]]) -> list[Chart]:
    """A row for each process, coloured by phase; nothing where no timeline was asked for."""
    if not processes:
        return []
    shown = dict(list(processes.items())[: MOST_WORKERS + 1])
    width, height = SIZE
    size = 2 * width, max(height / 2, ROW * len(shown)) + 1.2
    return [render_chart("timeline", "what the driver and the workers did, by time", partial(_draw, shown), size)]


def _draw(processes: Mapping[str, Sequence[Span]], axes: Axes) -> None:
    zero = min(span.start for spans in processes.values() for span in spans)
    for row, spans in enumerate(processes.values()):
        bars = [(span.start - zero, span.seconds) for span in spans]
        axes.broken_barh(bars, (row - 0.35, 0.7), facecolors=[COLOURS[span.phase] for span in spans])
    axes.set_yticks(range(len(processes)), list(processes))
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    found = {span.phase for spans in processes.values() for span in spans}
    patches = [Patch(color=COLOURS[phase], label=phase) for phase in PHASES if phase in found]
    axes.legend(handles=patches, ncols=len(patches), loc="lower center", bbox_to_anchor=(0.5, 1.0))
