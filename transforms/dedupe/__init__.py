"""Duplicates: events of one team with one uuid that arrive within 7 days."""

from transforms.dedupe.drop_duplicates import DropDuplicates

__all__ = ["DropDuplicates"]
