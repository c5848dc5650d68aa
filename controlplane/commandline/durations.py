"""Lengths of time as people write them."""

import re

from controlplane.commandline.refusals import BadArgument

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_LENGTH = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)", re.ASCII)


def read_duration(option: str, text: str) -> float:
    """Seconds, out of `90`, `90s`, `20m`, `2h` or `1d`. Raises BadArgument."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise BadArgument(option, f"'{text}' is no length of time; write 90s, 20m, 2h or 1d.")
    return float(found[1]) * _UNITS[found[2]]
