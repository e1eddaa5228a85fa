"""doctor.html: what was examined, what was found, and what to type, in one file that loads nothing."""

import base64
import io
import shlex
from collections.abc import Mapping, Sequence

from PIL import Image

from diffexp.doctor.examined import Examined
from diffexp.doctor.finding import SYMPTOMS, Finding
from diffexp.doctor.samples import Samples
from diffexp.doctor.signs import signs_of
from diffexp.escape import markup
from diffexp.report.page import document, table

_STYLE = """
h2 { font-size: 1.1rem; margin-top: 2rem; }
img { max-width: 100%; image-rendering: pixelated; display: block; }
td, th { white-space: normal; text-align: left; } td:has(data) { text-align: right; }
.rows { max-height: none; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .5rem; border: 1px solid var(--rule); }
.ill { border-left: 4px solid #d55e00; padding-left: .8rem; }
.strength { color: var(--soft); font-size: 13px; } figure { margin: 1rem 0; }
@media (max-width: 40rem) { .all th:nth-child(4), .all td:nth-child(4) { display: none; } }
"""


def doctor_page(found: Examined, samples: Samples, program: Sequence[str]) -> str:
    """Return the page. program: the words with which a command line begins."""
    causes = found.causes
    verdict = f"{len(causes)} likely causes, the strongest first" if len(causes) > 1 else "one likely cause"
    verdict = verdict if causes else "a clean bill: nothing is above its threshold"
    parts = [
        f"<p><b>{verdict}</b></p>",
        _overview(found),
        *(_section(f, program) for f in causes),
        _signs(samples),
    ]
    healthy = [f for f in found.findings if not f.ill]
    if healthy:
        parts.append("<h2>Looked at, and below the threshold</h2>")
        parts += [_section(f, program) for f in healthy]
    if found.failed:
        items = "".join(f"<li>{markup(k)}: {markup(v)}</li>" for k, v in found.failed.items())
        parts.append(f"<h2>Not examined</h2><ul>{items}</ul>")
    if found.of_runs:
        names = ", ".join(found.of_runs)
        parts.append(f"<h2>Needs the run</h2><p>{markup(names)}: give it as task.ckpt=RUN.</p>")
    return document("doctor", about(samples), parts, _STYLE)


def about(samples: Samples) -> Mapping[str, object]:
    """Return what was examined."""
    fid = f"{samples.fid():.4g}, floor {samples.floor:.4g} (real against real)"
    return samples.about() | {"FID": fid, "features": samples.fid_key.removeprefix("fid_")}


def _overview(found: Examined) -> str:
    rows = [[f.cause, SYMPTOMS[f.symptom], round(f.strength, 2), f.saw] for f in found.findings]
    head = ["cause", "symptom", "effect / threshold", "what was seen"]
    return f"<div class='rows all' tabindex=0>{table(head, rows)}</div>"


def _section(f: Finding, program: Sequence[str]) -> str:
    lines = "\n".join(shlex.join([*program, *words]) for words in f.do if f.ill)
    rows = "" if f.rows is None else f"<div class=rows tabindex=0>{table(*f.rows)}</div>"
    pictures = "".join(_figure(name, image) for name, image in f.pictures.items())
    shown = f"<pre>{markup(lines)}</pre>" if lines else ""
    strength = f"{f.strength:.2f} of its threshold; {SYMPTOMS[f.symptom]}"
    kind = "ill" if f.ill else "well"
    return (
        f"<section class={kind}><h2>{markup(f.cause)}</h2><p class=strength>{strength}</p>"
        f"<p>{markup(f.saw)}.</p>"
        f"{rows}{pictures}{shown}</section>"
    )


def _signs(samples: Samples) -> str:
    made, real = signs_of(samples.draw().images), samples.real_signs
    rows = [
        ["values at an end of the range", made.saturated, real.saturated],
        ["energy in high frequencies", made.sharpness, real.sharpness],
        ["variance of a pixel", made.spread, real.spread],
    ]
    picture = "".join(_figure(name, image) for name, image in samples.beside_real().items())
    return f"<h2>Signs</h2>{picture}{table(['', 'samples', 'real images'], rows)}"


def _figure(name: str, image: Image.Image) -> str:
    caption = f"<figcaption>{markup(name)}</figcaption>"
    return f"<figure><img alt='{markup(name)}' src='{encoded(image)}'>{caption}</figure>"


def encoded(image: Image.Image) -> str:
    """Return a picture as the data of an <img>."""
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
