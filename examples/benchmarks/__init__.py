"""Benchmarks: what a step costs, in time and memory."""
