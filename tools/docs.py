"""The repository's pages, and the API from its docstrings, as a site in .cache/site (`make docs`).

The pages link to tables, figures and files outside of docs/: each is copied to .cache/docs, laid out as here.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGED = ROOT / ".cache" / "docs"
LINK = re.compile(r"(?<!`)(!?\[[^]]*\])\(([^)#\s]+)(#[^)]*)?\)")
METHOD = ("masks", "blocks", "losses", "schedule", "teacher", "step", "slim", "ema")  # in the order of ppcd.method


def pages() -> list[Path]:
    """README.md first, and those of docs/, of the generators, and for contributors."""
    found = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("results/*/README.md"))]
    return [*found, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def stage(page: Path) -> None:
    """Copy a page and the files that it links to. Links to folders, which a site cannot show, become plain text."""

    def copy(link: re.Match[str]) -> str:
        target = (page.parent / link[2]).resolve()
        if "://" in link[2] or not target.is_relative_to(ROOT):
            return link[0]
        if target.is_dir():
            return link[1][1:-1]
        if target.is_file() and target not in pages():
            place(target).write_bytes(target.read_bytes())
        return link[0]

    place(page).write_text(LINK.sub(copy, page.read_text()))


def place(file: Path) -> Path:
    """Where a file of the repository is in the staged pages."""
    staged = STAGED / file.relative_to(ROOT)
    staged.parent.mkdir(parents=True, exist_ok=True)
    return staged


def api() -> str:
    """A page with the public names of ppcd, and the modules of ppcd.method."""
    sys.path.insert(0, str(ROOT))
    import ppcd  # nothing of torch: names are imported when they are used

    names = "\n\n".join(f"::: ppcd.{name}" for name in sorted(ppcd.__all__, key=str.lower))
    modules = "\n\n".join(f"::: ppcd.method.{name}" for name in METHOD)
    return f"# API\n\n## ppcd\n\n{names}\n\n## ppcd.method: the paper\n\n{modules}\n"


def main() -> int:
    shutil.rmtree(STAGED, ignore_errors=True)
    for page in pages():
        stage(page)
    place(ROOT / "api.md").write_text(api())
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # of mkdocs-material, about another program
    build = [sys.executable, "-m", "mkdocs", "build", "--clean"]  # not --quiet, which would count no warning
    done = subprocess.run(build, cwd=ROOT, env=quiet, check=False)
    if done.returncode == 0:
        print(f"site: {ROOT / '.cache' / 'site' / 'index.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
