#!/bin/sh
# Prints the interpreter to build the environment from; one line on stderr and status 1 where there is none.
# Usage: find_python.sh [INTERPRETER]   (nothing: python3, then python3.13, python3.12, python3.11)

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

if [ -n "$1" ]; then
    if ! supported "$1"; then
        found=$("$1" --version 2>&1) || found="no working interpreter"
        echo "setup: Python 3.11, 3.12 or 3.13 is needed; PYTHON=$1 is $found" | head -n 1 >&2
        exit 1
    fi
    command -v "$1"
    exit 0
fi

for candidate in python3 python3.13 python3.12 python3.11; do
    if supported "$candidate"; then
        command -v "$candidate"
        exit 0
    fi
done
found=$(python3 --version 2>&1) || found="not there"
echo "setup: Python 3.11, 3.12 or 3.13 is needed (python3 is $found); install one, or name it: make PYTHON=/path/to/python3.11" >&2
exit 1
