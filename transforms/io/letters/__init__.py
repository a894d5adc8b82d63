"""Dead letters as a source: those that are chosen, page by page."""

from transforms.io.letters.pages import Page, plan
from transforms.io.letters.selection import Selection, checked
from transforms.io.letters.transform import ReadLetters

__all__ = ["Page", "ReadLetters", "Selection", "checked", "plan"]
