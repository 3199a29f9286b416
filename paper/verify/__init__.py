"""Whether every committed table, figure and number is what the run directories that it names say (`make verify`)."""

from paper.verify.report import Finding, Report
from paper.verify.verifying import verify

__all__ = ["Finding", "Report", "verify"]
