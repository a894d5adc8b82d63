"""Attacks on the promises: inputs, deaths and misuse that once broke one. docs/guarantees.md lists them. Long ones are marked `attack`."""
