"""Generators for runtimes without torch."""
