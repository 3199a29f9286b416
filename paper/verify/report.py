"""What `make verify` found: a line for each file that is not what its sources give."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """A file that is not what its runs give."""

    file: str  # relative to the repository
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


@dataclass
class Report:
    """What was checked of a profile and what was found."""

    profile: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be compared here; no mistake
    checked: list[str] = field(default_factory=list)

    def add(self, file: str, *problems: str) -> None:
        self.findings += [Finding(file, problem) for problem in problems]
