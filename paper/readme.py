"""What README.md and the pages of docs/ show of results: blocks between `<!-- include PATH -->` or
`<!-- headline FOLDER FOLDER -->` and `<!-- end -->`."""

import re
from pathlib import Path

from paper.artifacts import headline

BLOCK = re.compile(r"(<!-- (include|headline) (\S+(?: \S+)*) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def pages(root: Path) -> list[Path]:
    """README.md and the pages of docs/, as far as they are there."""
    return [path for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if path.is_file()]


def filled(text: str, root: Path) -> str:
    """The text with what should stand in every block, names taken from `root`: of "include" one file as it is, of
    "headline" the main systems of several folders of results in one table.

    Raises:
        FileNotFoundError: a file that a block is made of is not there.
    """

    def fill(match: re.Match[str]) -> str:
        found = [root / name for name in match[3].split()]
        content = headline.markdown(found) if match[2] == "headline" else found[0].read_text()
        return f"{match[1]}\n{content.strip()}\n\n{match[5]}"

    return BLOCK.sub(fill, text)
