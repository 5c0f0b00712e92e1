"""Tests, one file for each public module or a subject of it."""
