"""What README.md and the pages of docs/ show of results: blocks between `<!-- include PATH -->` or
`<!-- headline FOLDER FOLDER -->` and `<!-- end -->`."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from paper.artifacts import headline

BLOCK = re.compile(r"(<!-- (include|headline) (\S+(?: \S+)*) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A generated part of a page.

    Attributes:
        kind: "include": one file as it is; "headline": the main systems of several profiles in one table.
        names: of the file, or of the folders of results, from the repository's root.
        shown: what stands there now, without blank lines around.
    """

    kind: str
    names: tuple[str, ...]
    shown: str

    @property
    def title(self) -> str:
        """The names of what it is made of."""
        return " ".join(self.names)

    def content(self, place: Callable[[str], Path]) -> str:
        """What should stand there.

        Args:
            place: a name -> where that is.

        Raises:
            FileNotFoundError: a file that it is made of is not there.
        """
        found = [place(name) for name in self.names]
        return (headline.markdown(found) if self.kind == "headline" else found[0].read_text()).strip()


def pages(root: Path) -> list[Path]:
    """README.md and the pages of docs/, as far as they are there."""
    return [path for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if path.is_file()]


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a text, in their order."""
    for match in BLOCK.finditer(text):
        yield _block(match)


def filled(text: str, root: Path) -> str:
    """The text with what should stand in every block, names taken from `root`.

    Raises:
        FileNotFoundError: as `Block.content`.
    """
    return BLOCK.sub(lambda match: f"{match[1]}\n{_block(match).content(root.joinpath)}\n\n{match[5]}", text)


def _block(match: re.Match[str]) -> Block:
    return Block(match[2], tuple(match[3].split()), match[4].strip())
