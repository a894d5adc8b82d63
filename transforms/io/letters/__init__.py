"""Dead letters as a source: those that are chosen, page by page."""

from transforms.io.letters.pages import Page, plan
from transforms.io.letters.selection import Selection, check_where
from transforms.io.letters.transform import ReadLetters

__all__ = ["Page", "ReadLetters", "Selection", "check_where", "plan"]
