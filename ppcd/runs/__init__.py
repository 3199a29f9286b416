"""Runs: a profile, a recipe and a seed, trained into a directory of their own."""
