"""Put generated tables into README.md and docs/*.md (`paper/readme.py`).

`python tools/readme.py` rewrites them; `python tools/readme.py --check` fails if that would change one.
"""

import sys
from pathlib import Path

from paper.readme import filled, pages

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    problems = []
    for page in pages(ROOT):
        name, text = page.relative_to(ROOT), page.read_text()
        try:
            new = filled(text, ROOT)
        except FileNotFoundError as error:
            problems.append(f"{name} includes {error.filename}, which is not there; run `make reproduce` first")
            continue
        if "--check" not in arguments:
            page.write_text(new)
        elif new != text:
            problems.append(f"{name} differs from the tables that it includes; run `python tools/readme.py`")
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
