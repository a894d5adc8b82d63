"""Side-by-side measurements, one command each; none of them is a test."""
