"""Limits: what a team may send."""

from transforms.limits.transform import EnforceLimits

__all__ = ["EnforceLimits"]
