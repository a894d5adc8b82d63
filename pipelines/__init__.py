"""One job a file: its options, then its graph on one screen."""
