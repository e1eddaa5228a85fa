"""vote.html: what people are asked, in one file: images, their prompts, and names that say nothing of which
run is which. What it may load is said in it: data alone, and the one script that it has.
"""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from PIL import Image

from diffexp.comparison.ballot import Kind
from diffexp.escape import line, markup


@dataclass(frozen=True)
class Shown:
    """A question as it is shown. images: one, or the left and the right one, of any mode."""

    id: str
    prompt: str
    images: Sequence[Image.Image]


def vote_page(kind: Kind, title: str, questions: Sequence[Shown]) -> tuple[str, str]:
    """Return the page, and its digest, by which answers say of which page they are."""
    shown = [{"id": q.id, "prompt": line(q.prompt), "images": [*map(_encoded, q.images)]} for q in questions]
    content = json.dumps([kind, line(title), shown])
    page = hashlib.sha256(content.encode()).hexdigest()[:32]
    data = json.dumps({"page": page, "kind": kind, "questions": shown}).replace("<", "\\u003c")
    here = files("diffexp.report")
    html, script = (here.joinpath(f"vote.{end}").read_text(encoding="utf-8") for end in ("html", "js"))
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    filled = Template(html).substitute(
        title=markup(line(title)), data=data, script=script, allowed=f"sha256-{allowed}"
    )
    return filled, page


def _encoded(image: Image.Image) -> str:
    """Return an image as a PNG, of RGB whatever it was: a kind of file would say which run it is of."""
    out = io.BytesIO()
    bare = Image.new("RGB", image.size)
    bare.paste(image.convert("RGB"))  # without what a file may say beside its pixels
    bare.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
