"""Variants of the code that break a promise, as patches: the tests that guard the promise must fail on each."""
