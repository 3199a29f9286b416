"""Sets of labelled images."""
