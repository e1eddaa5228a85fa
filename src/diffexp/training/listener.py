"""Who hears of progress instead of the screen: set in the processes of a sweep."""

from collections.abc import Callable

told: Callable[[str, int, int], None] | None = None
"""Called with (text, done, total)."""
