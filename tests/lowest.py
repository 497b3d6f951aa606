"""The lowest versions that pyproject.toml admits, as constraints for pip (not a test).

    python tests/lowest.py > lowest.txt && pip install -c lowest.txt '.[test]'
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def lowest() -> list[str]:
    """NAME==VERSION of every dependency; one without a lowest version is an error."""
    found = []
    for line in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]:
        match = re.match(r"([\w.-]+)>=([\d.]+)", line)
        assert match, f"{line}: no lowest version"
        found.append(f"{match[1]}=={match[2]}")
    return found


if __name__ == "__main__":
    print("\n".join(lowest()))
