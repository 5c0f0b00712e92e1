"""Tests, in the folders and files of what they test."""
