"""Command-line programs that are not needed for training."""
