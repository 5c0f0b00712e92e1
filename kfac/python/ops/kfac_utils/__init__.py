"""Schedules of updates, background inverses, and a self-updating optimizer."""
