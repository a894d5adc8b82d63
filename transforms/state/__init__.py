"""Building blocks for keyed state."""
