"""Show the progress of a running job: a bar in a terminal, otherwise a line every few seconds."""

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Task as BarTask
from rich.table import Table
from rich.text import Text

LINE_EVERY_SECONDS = 5.0


class Speed(ProgressColumn):
    """A column with a task's average speed, in items per second."""

    def render(self, task: BarTask) -> Text:
        """Return the column's text for a task."""
        seconds = (task.stop_time or time.monotonic()) - task.fields["since"]
        return Text(f"{per_second(task.completed, seconds)}/s", style="green")


def figures(title: str, rows: Iterable[tuple[str, int | str]]) -> Table:
    """Return a table of names and counts."""
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, count in rows:
        table.add_row(name, count if isinstance(count, str) else f"{count:,}")
    return table


def per_second(items: float, seconds: float) -> str:
    """Return the speed as text, such as `1,234`."""
    return f"{items / seconds:,.0f}" if seconds else "0"


class Display:
    """Show the progress of tasks that run one after another."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Speed(),
            TimeElapsedColumn(),
            console=console,
            get_time=time.monotonic,
        )
        self._task: TaskID | None = None
        self._name = ""
        self._started = self._printed = self._updated = time.monotonic()
        self._items = 0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, name: str, items: int, estimate: int) -> None:
        """Show that a task has processed `items` of about `estimate` items; an estimate of 0 means unknown.

        A new name ends the previous task.
        """
        if name != self._name:
            self._end_task()
            self._name, self._started = name, self._updated  # The new task started at the previous task's last update.
            if self._console.is_terminal:
                self._task = self._bar.add_task(name, total=estimate or None, since=self._started)
        self._updated = time.monotonic()
        self._items = items
        if self._task is not None:
            self._bar.update(self._task, completed=items, total=max(estimate, items) or None)
        elif time.monotonic() - self._printed > LINE_EVERY_SECONDS:
            self._print_line(f" of about {estimate:,}" if estimate > items else "")

    def end(self) -> None:
        """Show that the last task is done."""
        self._end_task()
        self._name = ""

    def _end_task(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, total=max(self._items, 1), completed=max(self._items, 1))
            self._bar.stop_task(self._task)
        elif self._name:
            self._print_line("")

    def _print_line(self, more: str) -> None:
        self._printed = time.monotonic()
        speed = per_second(self._items, self._printed - self._started)
        self._console.print(f"{self._name}: {self._items:,}{more}, {speed}/s", highlight=False)
