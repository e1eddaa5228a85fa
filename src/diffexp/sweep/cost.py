"""The cost of a sweep in network calls, before it is run."""

from rich.console import Console
from rich.table import Table

from diffexp.errors import DiffexpError
from diffexp.escape import plain
from diffexp.notice import say
from diffexp.run.job import Job, Task
from diffexp.run.results import rows
from diffexp.sweep.cell import Cell
from diffexp.sweep.compose import Lines


def show(sweep: Lines) -> list[int]:
    """Show for dry_run=true the jobs, which of them are done, and how many network calls the others make.

    Return the exit code of the first job that is refused, if there is one. Raises DiffexpError if no line can
    be composed.
    """
    cells = [cell for cell in sweep if cell is not None]
    if len(sweep.refused) == len(cells):
        raise next(iter(sweep.refused.values()))
    ended = rows(sweep.folder)
    done = {cell.id for cell in cells if ended.get(cell.id, {}).get("state") == "done"}
    title = f"{len(cells)} jobs, {len(done)} done, in {sweep.folder}"
    table = Table(title=plain(title), title_justify="left")
    for column in (*sweep.keys, "job", "network calls", "state"):
        table.add_column(plain(column), overflow="fold")
    total, errors = 0, dict[str, DiffexpError]()
    for cell in cells:
        calls, shown = _calls(sweep, cell, {} if cell.id in done else errors)
        total += calls if cell.id not in done else 0
        values = [str(cell.shown.get(key)) for key in sweep.keys]
        state = "done" if cell.id in done else "refused" if cell.id in errors else "to do"
        table.add_row(*map(plain, (*values, cell.id, shown, state)))
    Console().print(table)
    if sweep.same:
        say(f"{sweep.same} of the {len(sweep.typed)} lines are the same as another, and are no jobs")
    left = len(cells) - len(done) - len(errors)
    say(f"{left} jobs to do, {total:,} network calls, counted by image")
    if errors:
        say(f"{len(errors)} refused, the first by:\n{next(iter(errors.values()))}")
    return [error.code for error in errors.values()][:1]


def _calls(sweep: Lines, cell: Cell, errors: dict[str, DiffexpError]) -> tuple[int, str]:
    """Return the number of network calls of a job, and the text for the table; put why it is refused, if it
    is, among the errors.
    """
    try:
        if cell.id in sweep.refused:
            raise sweep.refused[cell.id]
        calls = network_calls(cell)
    except DiffexpError as error:
        errors[cell.id] = error
        return 0, f"error: {error.what}"
    return calls or 0, "" if calls is None else f"{calls:,}"


def network_calls(cell: Cell) -> int | None:
    """Return how often the network will be evaluated, counted by image; None where that is not known.

    An adaptive sampler's is that of a black image. Raises DiffexpError for a job that would be refused.
    """
    job = Job(cell.config, cell.folder, cell.typed, cell.choices)
    task: Task = job.build("task")
    return task.network_calls(job) if hasattr(task, "network_calls") else None
