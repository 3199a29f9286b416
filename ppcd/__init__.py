"""ppcd."""
