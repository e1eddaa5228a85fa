"""Pages of the site that are made of files elsewhere: a hook of mkdocs.yml."""

from pathlib import Path

import options
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
COPIED = {"index.md": "README.md"} | {name: name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md, with its links to docs/ made links beside it, its like, and the reference of options."""
    for page, source in COPIED.items():
        text = (ROOT / source).read_text().replace("](docs/", "](").replace("](README.md", "](index.md")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "options.md", content=options.page()))
    return files
