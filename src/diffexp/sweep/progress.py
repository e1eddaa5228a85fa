"""The live view of a sweep on the terminal."""

import time

from rich.console import Console
from rich.live import Live
from rich.table import Table

from diffexp.escape import first_line, line, plain
from diffexp.sweep.worker import News


class Board:
    """A line for each job that runs; without a terminal, a line for each that has ended.

    total: jobs; before: how many of them were done before. Both may change as lines are composed.
    """

    def __init__(self, total: int) -> None:
        self.total, self.before, self.done, self.failed = total, 0, 0, 0
        self.running: dict[str, tuple[str, float, News | None]] = {}
        self.console = Console()
        self.live = Live(console=self.console, transient=True) if self.console.is_terminal else None

    def __enter__(self) -> "Board":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def say(self, text: str) -> None:
        """Print one line above the others."""
        self.console.print(plain(line(text)), highlight=False, soft_wrap=True)

    def hear(self, news: News, name: str) -> None:
        """Take in what happened, and show it."""
        if news.kind == "started":
            self.running[news.cell.id] = (name, time.monotonic(), None)
        elif news.kind == "progress" and news.cell.id in self.running:
            self.running[news.cell.id] = (*self.running[news.cell.id][:2], news)
        elif news.kind in ("done", "failed"):
            self.running.pop(news.cell.id, None)
            self.done += news.kind == "done"
            self.failed += news.kind == "failed"
            self._tell(name, news)
        if self.live is not None:
            self.live.update(self._table())

    def _tell(self, name: str, news: News) -> None:
        from diffexp.report.table import numbers

        if news.kind == "failed":
            outcome = f"failed: {first_line(news.text)}"
        else:
            outcome = "  ".join(f"{key} {value:.4g}" for key, value in list(numbers(news.row).items())[:3])
        count = f"{self.before + self.done + self.failed}/{self.total}"
        text = f"{count:>7}  {line(name)}  {line(outcome)}  {news.row.get('seconds', 0):.0f} s"
        self.console.print(plain(text), highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        ended = f"{self.before + self.done}/{self.total} done"
        table.add_row(ended, f"{self.failed} failed" if self.failed else "")
        for name, since, news in self.running.values():
            seconds = time.monotonic() - since
            if news is None or not news.total:
                table.add_row(plain(line(name)), f"{seconds:.0f} s")
                continue
            rest = seconds * (news.total - news.done) / max(1, news.done)
            bar, doing = "█" * (20 * news.done // news.total), plain(line(news.text))
            table.add_row(
                plain(line(name)), f"{bar:<20}", f"{news.done}/{news.total}", f"{rest:.0f} s left", doing
            )
        return table
