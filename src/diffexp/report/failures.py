"""What the failed jobs of a sweep say, as a table."""

from diffexp.escape import first_line, markdown_cell
from diffexp.report.table import Sweep, read


def failures(sweep: Sweep) -> str:
    """Return a table in Markdown of the jobs that failed, with their messages. Raises DataError."""
    lines, snapshot = ["| job | what failed |", "|---|---|"], read(sweep)
    for cell, row in snapshot.cells:
        if row is not None and row["state"] == "failed":
            name = markdown_cell(" ".join(f"{k}={v}" for k, v in cell["values"].items()) or cell["id"])
            message = markdown_cell(first_line(row.get("error") or "it does not say why"))
            log = f"logs/{cell['id']}.txt"  # a line that could not be composed has none
            message += f" ({markdown_cell(log)})" if (snapshot.folder / log).is_file() else ""
            lines.append(f"| {name} | {message} |")
    return "\n".join(lines)
