"""Long steps show that they are alive, and their time, on standard error: output stays clean."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["Steps"]


class Steps:
    """Steps that follow one another; call it with a line as each begins.

    >>> with Steps() as step:
    ...     step("reading the model")
    ...     step("choosing number formats")

    Parameters
    ----------
    quiet
        Show nothing, and only take the times.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.times: list[tuple[str, float]] = []
        """Each finished step with its seconds."""
        self._began = 0.0
        self._current: tuple[str, TaskID] | None = None
        self._shown = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=quiet,
        )

    def __enter__(self) -> Self:
        return self

    def __call__(self, line: str) -> None:
        """Begin a step; the one before it is done."""
        self._finish()
        if not self._shown.live.is_started:
            self._shown.start()
        self._current = line, self._shown.add_task(line, total=1)
        self._began = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        # An empty display, once stopped, would leave an empty line.
        if self._shown.live.is_started:
            self._shown.stop()

    def _finish(self) -> None:
        if self._current is not None:
            line, task = self._current
            self.times.append((line, time.perf_counter() - self._began))
            self._shown.update(task, completed=1)
            self._current = None
