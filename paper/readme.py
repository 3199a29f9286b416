"""What README.md and the pages of docs/ are filled with: blocks between `<!-- include PATH -->`,
`<!-- headline FOLDER FOLDER -->` or `<!-- badges NOTEBOOK -->` and `<!-- end -->`."""

import re
import tomllib
from pathlib import Path

from paper.artifacts import headline

BLOCK = re.compile(r"(<!-- (include|headline|badges) (\S+(?: \S+)*) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def pages(root: Path) -> list[Path]:
    """README.md and the pages of docs/, as far as they are there."""
    return [path for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if path.is_file()]


def address(root: Path) -> str:
    """Where the repository is, as `[project.urls]` of pyproject.toml says: https://github.com/OWNER/NAME; or ""."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return str(project.get("urls", {}).get("Repository", ""))


def badges(root: Path, notebook: str) -> str:
    """Links that open a notebook in Colab and Binder; nothing as long as the repository has no address."""
    if not (found := address(root)):
        return ""
    name = found.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{name}/blob/main/{notebook}"
    binder = f"https://mybinder.org/v2/gh/{name}/main?labpath={notebook}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})\n"
        f"[![Binder](https://mybinder.org/badge_logo.svg)]({binder})\n"
    )


def filled(text: str, root: Path) -> str:
    """The text with what should stand in every block, names taken from `root`: of "include" one file as it is, of
    "headline" the main systems of several folders of results in one table, of "badges" links that open a notebook.

    Raises:
        FileNotFoundError: a file that a block is made of is not there.
    """

    def fill(match: re.Match[str]) -> str:
        if match[2] == "badges":
            return f"{match[1]}{badges(root, match[3])}{match[5]}"
        found = [root / name for name in match[3].split()]
        content = headline.markdown(found) if match[2] == "headline" else found[0].read_text()
        return f"{match[1]}\n{content.strip()}\n\n{match[5]}"

    return BLOCK.sub(fill, text)
