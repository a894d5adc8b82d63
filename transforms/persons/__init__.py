"""Persons: which person an event belongs to, and what is known of them (docs/persons.md)."""

from transforms.persons.apply_person_properties import ApplyPersonProperties
from transforms.persons.resolve_persons import ResolvePersons

__all__ = ["ApplyPersonProperties", "ResolvePersons"]
