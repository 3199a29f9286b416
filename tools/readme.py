"""Put generated tables into README.md (`ppcd/readme.py`).

`python tools/readme.py` rewrites the file; `python tools/readme.py --check` fails if that would change it.
"""

import sys
from pathlib import Path

from paper.readme import filled

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    path = ROOT / "README.md"
    text = path.read_text()
    try:
        new = filled(text, ROOT)
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
