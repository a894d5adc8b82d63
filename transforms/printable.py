"""Texts of strangers in, texts that a terminal shows and does not obey out.

Control characters (C0, DEL, C1: U+009B begins a command as ESC does), marks that turn the direction of text around, zero-width characters,
separators of lines and halves of surrogate pairs: whatever Python calls not printable is written as an escape.
"""

import re

_BEYOND_ASCII = re.compile("[\x7f-\U0010ffff]")


def printable(text: str) -> str:
    """Return a text on one line, without what a terminal would obey."""
    return text if text.isprintable() else "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """Return a text whose lines and tabs stay."""
    return "".join(char if char in "\n\t" else printable(char) for char in text) if not text.isprintable() else text


def printable_json(text: str) -> str:
    """Return JSON that means the same, with such characters as escapes of JSON; half a surrogate pair, which is no text, is U+FFFD."""
    return text if text.isprintable() else _BEYOND_ASCII.sub(lambda found: _in_json(found[0]), text)


def _shown(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def _in_json(char: str) -> str:
    if char.isprintable():
        return char
    if "\ud800" <= char <= "\udfff":
        return "\\ufffd"
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
