"""What an operator sees while a job runs: a bar where somebody watches, else a line now and then."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Task as BarTask
from rich.text import Text

LINE_EVERY_SECONDS = 5.0


class Speed(ProgressColumn):
    """Items per second, from the start of the task."""

    def render(self, task: BarTask) -> Text:
        """As Rich asks for it."""
        seconds = (task.stop_time or time.monotonic()) - task.fields["since"]
        return Text(f"{per_second(task.completed, seconds)}/s", style="green")


def per_second(items: float, seconds: float) -> str:
    """`1,234`."""
    return f"{items / seconds:,.0f}" if seconds else "0"


class Display:
    """Shows one task after another, each with the items that it has gone through."""

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
        self._started = self._transition = self._changed = time.monotonic()
        self._items = 0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, name: str, items: int, about: int) -> None:
        """Says that the task of this name has gone through so many items, of about so many (0: not known)."""
        if name != self._name:
            self._end_task()
            self._name, self._started = name, self._changed  # It began when the one before it was last heard of.
            if self._console.is_terminal:
                self._task = self._bar.add_task(name, total=about or None, since=self._started)
        self._changed = time.monotonic()
        self._items = items
        if self._task is not None:
            self._bar.update(self._task, completed=items, total=max(about, items) or None)
        elif time.monotonic() - self._transition > LINE_EVERY_SECONDS:
            self._tell(f" of about {about:,}" if about > items else "")

    def end(self) -> None:
        """Says that the last task is done."""
        self._end_task()
        self._name = ""

    def _end_task(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, total=max(self._items, 1), completed=max(self._items, 1))
            self._bar.stop_task(self._task)
        elif self._name:
            self._tell("")

    def _tell(self, more: str) -> None:
        self._transition = time.monotonic()
        speed = per_second(self._items, self._transition - self._started)
        self._console.print(f"{self._name}: {self._items:,}{more}, {speed}/s", highlight=False)
