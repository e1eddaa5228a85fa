"""Pages of the site that are made of files elsewhere: a hook of mkdocs.yml."""

from pathlib import Path
from typing import Any

import options
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
COPIED = {"index.md": "README.md"} | {
    name: name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
}
SOURCES = ROOT / "src" / "diffexp"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md, with its links to docs/ made links beside it, its like, and the reference of options."""
    for page, source in COPIED.items():
        text = (ROOT / source).read_text().replace("](docs/", "](").replace("](README.md", "](index.md")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "options.md", content=options.page()))
    return files


def on_page_markdown(markdown: str, page: Page, **kwargs: Any) -> str:
    """Return the page of a room with all modules of the room: those that it does not name come last."""
    folder = SOURCES / page.file.src_uri.removeprefix("api/").removesuffix(".md")
    if not page.file.src_uri.startswith("api/") or not folder.is_dir():
        return markdown
    names = [f"diffexp.{folder.name}.{file.stem}" for file in sorted(folder.glob("[!_]*.py"))]
    left = [f"::: {name}" for name in names if f"::: {name}\n" not in f"{markdown}\n"]
    return "\n\n".join([markdown, *left])
