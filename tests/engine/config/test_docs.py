"""docs/operating.md lists every key of an agent as the code has it."""

from pathlib import Path

from engine.config.key import ConfigKey
from engine.config.settings import KEYS

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "operating.md"


def row(key: ConfigKey) -> str:
    default = "none" if key.default is None else str(key.default)
    if isinstance(key.default, bool):
        default = default.lower()
    help_text = str(key.describe()["help"])
    return f"| `{key.name}` | {default} | {key.applies.value} | {help_text} |"


def test_operating__keys__are_documented_as_they_are() -> None:
    documented = [
        line for line in DOCUMENT.read_text().splitlines() if line.split("`")[1:2] and _is_key(line)
    ]
    assert documented == [row(key) for key in KEYS.values()]


def _is_key(line: str) -> bool:
    return line.startswith("| `") and line.split("`")[1] in KEYS
