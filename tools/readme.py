"""Put generated tables into README.md: what stands between `<!-- include PATH -->` and `<!-- end -->` is PATH's text.

`python tools/readme.py` rewrites the file; `python tools/readme.py --check` fails if that would change it.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- include (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rendered(text: str, root: Path) -> str:
    """The text with every block replaced by its file, paths taken from `root`."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{(root / block[2]).read_text().strip()}\n\n{block[3]}", text)


def main(arguments: list[str]) -> int:
    path = ROOT / "README.md"
    text = path.read_text()
    try:
        new = rendered(text, ROOT)
    except FileNotFoundError as error:
        print(f"README.md includes {error.filename}, which is not there; run `make reproduce` first", file=sys.stderr)
        return 1
    if "--check" in arguments:
        if new != text:
            print("README.md differs from the tables that it includes; run `python tools/readme.py`", file=sys.stderr)
        return int(new != text)
    path.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
