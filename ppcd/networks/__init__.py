"""The reference networks and what they are made of."""
