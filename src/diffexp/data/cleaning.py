"""Clean captions: each rule is a function of one text. They are applied in the order of RULES, whatever the
order they were typed in; each takes time in proportion to the text.
"""

import html
import re
from collections.abc import Callable, Sequence

from diffexp.errors import ConfigError

_TAG = re.compile(r"<[/!?]?([a-zA-Z-]+)[^<>]*>")  # "a < b" and "<3" are none
_INLINE = frozenset(
    ["a", "abbr", "b", "big", "code", "em", "font", "i", "mark", "s", "small", "span", "strong", "sub", "u"]
)  # fmt: skip
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"]+", re.IGNORECASE)
_BLANKS = dict.fromkeys([*range(0x0B, 0x0D), *range(0x1C, 0x20), 0x85], " ")  # which str.split breaks at
_GONE = dict.fromkeys(
    [
        *range(0x09), *range(0x0E, 0x1C), *range(0x7F, 0x85), *range(0x86, 0xA0),
        0xAD, 0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070),
        *range(0xD800, 0xE000), 0xFEFF, *range(0xFFF9, 0xFFFC), 0xFFFE, 0xFFFF,
    ]
)  # fmt: skip
_CONTROL = _BLANKS | _GONE


def ftfy(text: str) -> str:
    """Mend text that was decoded as what it is not (schÃ¶n), with the library ftfy. Raises ConfigError where
    that is not installed.
    """
    try:
        from ftfy import fix_text
    except ImportError as error:
        what = "ftfy, which is to clean the captions, is not installed"
        raise ConfigError(what, "data.caption.clean", "pip install 'diffexp[text]'") from error
    return fix_text(text)


def without_html(text: str) -> str:
    """Take tags away, and write entities (&amp;) as what they stand for. A tag such as <br> ends a word."""
    return html.unescape(_TAG.sub(lambda tag: "" if tag[1].lower() in _INLINE else " ", text))


def without_urls(text: str) -> str:
    """Take away what begins with http://, https:// or www., up to a blank."""
    return _URL.sub("", text)


def without_control(text: str) -> str:
    """Take away control characters, and marks that change the direction of writing or have no width. Line
    feeds and tabs stay, and the joiners that emoji, Persian and Indian scripts need.
    """
    return text.translate(_CONTROL)


def without_blanks(text: str) -> str:
    """Write one blank for each run of blanks and line ends, none at either end."""
    return " ".join(text.split())


RULES: dict[str, Callable[[str], str]] = {
    "ftfy": ftfy,
    "html": without_html,
    "urls": without_urls,
    "control": without_control,
    "whitespace": without_blanks,
}


def cleaned(text: str, rules: Sequence[str]) -> str:
    """Return the text after the rules of these names. Raises ConfigError where ftfy is not installed."""
    for name, rule in RULES.items():
        if name in rules:
            text = rule(text)
    return text
