"""data.html: what a data set holds, in one file: sizes, classes, captions, and images with theirs."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from diffexp.data.bucket_report import HEAD, BucketRow
from diffexp.data.caption_report import CaptionReport, rows_of
from diffexp.escape import line, markup
from diffexp.report.histogram import histogram
from diffexp.report.page import document, table

LETTERS, SEVERAL, CLASSES, SIDE = 300, 5, 500, 128
BUCKET_SIDE = 160  # pixels of the longest side on the page
_STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }
.card { margin: 0; min-width: 0; } .card img { width: 8rem; image-rendering: pixelated; display: block; }
.card p { margin: .2rem 0; overflow-wrap: anywhere; font-size: 13px; } .drawn { color: var(--soft); }
.bucket { display: flex; flex-wrap: wrap; gap: .4rem; }
.bucket img, .bucket span { border: 1px solid #0072b2; }
h2 { font-size: 1.1rem; margin-top: 2rem; } td { overflow-wrap: anywhere; white-space: normal; }
"""


@dataclass(frozen=True)
class Card:
    """An image, uint8 (C, H, W), its class, its captions, and what training draws of these in some epochs."""

    image: Tensor
    label: str
    captions: Sequence[str]
    drawn: Sequence[str]


@dataclass(frozen=True)
class Survey:
    """The facts about a data set. about: rows of names and values; sides: the (H, W) of the pictures before
    they were scaled; classes: (name, how many of each split); buckets: of training, where it has some.
    """

    about: Mapping[str, object]
    sides: Counter[tuple[int, int]]
    classes: Sequence[tuple[str, int, int, int]]
    captions: CaptionReport | None
    cards: Sequence[Card]
    buckets: Sequence[BucketRow] = ()


def cut(text: object, most: int = LETTERS) -> str:
    """Return a text on one line, of at most about `most` letters, with the number of all."""
    whole = str(text)
    shown = line(whole[:most])
    return f"{shown} … ({len(whole):,} letters)" if len(whole) > most else shown


def data_page(name: str, survey: Survey) -> str:
    """Return the page of a data set of that name."""
    parts = [*_sizes(survey.sides), *_buckets(survey.buckets), *_classes(survey.classes)]
    if survey.captions is not None:
        parts += _captions(survey.captions)
    parts.append(f"<h2>Images</h2><div class=cards>{''.join(map(_card, survey.cards))}</div>")
    return document(f"data: {cut(name, 100)}", survey.about, parts, _STYLE)


def most_frequent(sides: Counter[tuple[int, int]], most: int = 10) -> list[tuple[str, int]]:
    """Return the most frequent sizes, "height x width", with their numbers."""
    ordered = sorted(sides.items(), key=lambda item: (-item[1], item[0]))
    return [(f"{height}x{width}", n) for (height, width), n in ordered[:most]]


def _sizes(sides: Counter[tuple[int, int]]) -> list[str]:
    area, aspect = Counter[float](), Counter[float]()
    for (height, width), n in sides.items():
        area[(height * width) ** 0.5] += n
        aspect[width / height] += n
    figures = histogram("square root of height x width, pixels", area)
    figures += histogram("width / height", aspect)
    head = ["height x width", "images"]
    return ["<h2>Sizes</h2>", f"<div class=beside>{figures}</div>", table(head, most_frequent(sides))]


def _buckets(rows: Sequence[BucketRow]) -> list[str]:
    """Return the sizes of training as rectangles of their shapes, with pictures as they are cropped."""
    if not rows:
        return []
    scale = BUCKET_SIDE / max(max(row.size) for row in rows)
    drawn = list[str]()
    for row in rows:
        height, width = (max(1, round(side * scale)) for side in row.size)
        title = f"{row.train:,} training pictures, {100 * row.cut:.1f} % cut off, {row.enlarged:,} enlarged"
        style = f"style='width:{width}px;height:{height}px'"
        shown = "".join(f"<img alt='' {style} src='{_encoded(image)}'>" for image in row.images)
        empty = "" if row.images else f"<span {style}></span>"
        drawn.append(f"<p><b>{row.name}</b> {title}</p><div class=bucket>{shown}{empty}</div>")
    return [f"<h2>{len(rows):,} buckets</h2>", table(HEAD, [row.cells for row in rows]), *drawn]


def _classes(classes: Sequence[tuple[str, int, int, int]]) -> list[str]:
    if not classes:
        return []
    rows = [(cut(name, 80), *counts) for name, *counts in classes[:CLASSES]]
    more = f"<p>and {len(classes) - CLASSES:,} more</p>" if len(classes) > CLASSES else ""
    shown = table(["class", "train", "val", "test"], rows)
    return [f"<h2>{len(classes):,} classes</h2>", f"<div class=rows tabindex=0>{shown}</div>{more}"]


def _captions(report: CaptionReport) -> list[str]:
    words = table(["most frequent words", "captions"], [(cut(w, 80), n) for w, n in report.frequent])
    again = [(cut(text, 80), n) for text, n in report.repeated]
    repeated = table(["captions of several images", "images"], again) if again else ""
    lists = "".join(f"<div class=rows tabindex=0>{part}</div>" for part in (words, repeated) if part)
    return ["<h2>Captions</h2>", table(["", ""], rows_of(report)), f"<div class=beside>{lists}</div>"]


def _card(card: Card) -> str:
    texts = [f"<p><b dir=auto>{markup(cut(card.label, 80))}</b></p>"] if card.label else []
    texts += [f"<p dir=auto>{markup(cut(text))}</p>" for text in card.captions[:SEVERAL]]
    if len(card.captions) > SEVERAL:
        texts.append(f"<p>and {len(card.captions) - SEVERAL:,} more</p>")
    texts += [f"<p class=drawn dir=auto>{markup(cut(text))}</p>" for text in card.drawn]
    return f"<figure class=card><img alt='' src='{_encoded(card.image)}'>{''.join(texts)}</figure>"


def _encoded(image: Tensor) -> str:
    """Return an image, uint8 (C, H, W), as the data of a picture: small ones as they are, without loss."""
    pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
    picture, out = Image.fromarray(pixels.contiguous().numpy()), io.BytesIO()
    small = max(picture.size) <= SIDE // 2
    picture.thumbnail((SIDE, SIDE))
    kind = "PNG" if small else "JPEG"
    picture.save(out, kind, **({} if small else {"quality": 80}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"
