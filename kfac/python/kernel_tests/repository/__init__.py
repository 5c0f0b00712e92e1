"""Checks of the repository itself: rules, packaging, documentation."""
