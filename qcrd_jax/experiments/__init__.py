"""Grids of runs: planned, run and tabled."""
