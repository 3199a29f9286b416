"""What README.md shows of results: blocks between `<!-- include PATH -->` or `<!-- beside FOLDER FOLDER -->` and
`<!-- end -->`."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from paper.artifacts import beside

BLOCK = re.compile(r"(<!-- (include|beside) (\S+(?: \S+)*) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A generated part of README.md.

    Attributes:
        kind: "include": one file as it is; "beside": the first tables of several profiles as one.
        names: of the file, or of the folders of results, from the repository's root.
        shown: what stands there now, without blank lines around.
    """

    kind: str
    names: tuple[str, ...]
    shown: str

    @property
    def title(self) -> str:
        """What it is of: the names."""
        return " ".join(self.names)

    def content(self, place: Callable[[str], Path]) -> str:
        """What should stand there.

        Args:
            place: a name -> where that is.

        Raises:
            FileNotFoundError: a file that it is made of is not there.
        """
        found = [place(name) for name in self.names]
        return (beside.markdown(found) if self.kind == "beside" else found[0].read_text()).strip()


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
