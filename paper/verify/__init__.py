"""Whether every committed table, figure and number is what the run directories that it names say (`make verify`)."""

from paper.verify.compare import Finding
from paper.verify.verifying import verify

__all__ = ["Finding", "verify"]
