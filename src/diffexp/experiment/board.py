"""What is seen of a sweep while it runs."""

import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from diffexp.experiment.work import News


class Board:
    """A line for each job that runs; without a terminal, a line for each that has ended."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self.failed = total, done, 0
        self.running: dict[str, tuple[str, float, News | None]] = {}
        self.last, self.console = "", Console()
        self.live = Live(console=self.console, transient=True) if self.console.is_terminal else None

    def __enter__(self) -> "Board":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def hear(self, news: News, name: str, found: dict[str, dict[str, Any]]) -> None:
        """Takes in what happened, and shows it."""
        if news.kind == "started":
            self.running[news.cell.id] = (name, time.monotonic(), None)
        elif news.kind == "told" and news.cell.id in self.running:
            self.running[news.cell.id] = (*self.running[news.cell.id][:2], news)
        elif news.kind in ("done", "failed"):
            self.running.pop(news.cell.id, None)
            row = found.get(news.cell.id, {})
            self.done += news.kind == "done"
            self.failed += news.kind == "failed"
            self._tell(name, news, row)
        if self.live is not None:
            self.live.update(self._table())

    def _tell(self, name: str, news: News, row: dict[str, Any]) -> None:
        from diffexp.experiment.table import numbers

        if news.kind == "failed":
            told = f"failed: {news.text.splitlines()[0]}"
        else:
            told = "  ".join(f"{key} {value:.4g}" for key, value in list(numbers(row).items())[:3])
        count = f"{self.done + self.failed}/{self.total}"
        self.console.print(
            f"{count:>7}  {name}  {told}  {row.get('seconds', 0):.0f} s",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row(f"{self.done}/{self.total} done", f"{self.failed} failed" if self.failed else "")
        for name, since, news in self.running.values():
            seconds = time.monotonic() - since
            if news is None or not news.total:
                table.add_row(name, f"{seconds:.0f} s")
                continue
            rest = seconds * (news.total - news.done) / max(1, news.done)
            bar = "█" * (20 * news.done // news.total)
            table.add_row(name, f"{bar:<20}", f"{news.done}/{news.total}", f"{rest:.0f} s left", news.text)
        return table
