"""Attacks on the promises: inputs, deaths and misuse that once broke one (docs/guarantees.md has the list). Long ones have the marker `attack`."""
