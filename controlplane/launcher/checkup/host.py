"""This host: the secret key, room on disk, settings that do not belong here."""

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from controlplane.fleet.models import Agent
from controlplane.fleet.vault import UnreadableToken
from controlplane.launcher.checkup.finding import Finding, bad, ok, warn

_LITTLE = 1 << 30
_VERY_LITTLE = 100 << 20
_MIN_LENGTH = 32
_GIB = 1 << 30


def check_secret_key() -> Iterator[Finding]:
    """Whether it is secret, long enough, and the one that agents' tokens are stored under."""
    path = Path(settings.DATA_DIR) / "secret_key"
    if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield bad("secret key", f"others can read {path}", f"chmod 600 {path}, and change the key.")
    if len(settings.SECRET_KEY) < _MIN_LENGTH:
        yield bad(
            "secret key",
            f"it has {len(settings.SECRET_KEY)} characters",
            f"Set a random one of {_MIN_LENGTH} or more, and keep the old one in "
            "KVPLANE_SECRET_KEY_FALLBACKS.",
        )
    lost = [agent.name for agent in Agent.objects.exclude(encrypted_token="") if _is_lost(agent)]
    if lost:
        yield bad(
            "secret key",
            f"the tokens of these agents cannot be read with it: {', '.join(lost[:10])}",
            "Give the earlier key in KVPLANE_SECRET_KEY_FALLBACKS, or store the tokens anew.",
        )
    else:
        yield ok("secret key", "it reads what is stored under it")
    if settings.DEBUG:
        yield bad("settings", "KVPLANE_DEBUG is on", "Unset it: it shows secrets to callers.")


def check_disk() -> Iterator[Finding]:
    """Whether there is room where things are written."""
    places = {
        "data": settings.DATA_DIR,
        "audit keys": settings.KVPLANE_AUDIT_KEYS_DIR,
        "audit heads": settings.KVPLANE_AUDIT_HEADS_DIR,
        "audit archive": settings.KVPLANE_AUDIT_ARCHIVE_DIR,
    }
    seen: set[int] = set()
    for name, place in places.items():
        path = _existing(Path(place))
        device = path.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield _check_room(name, path)


def _check_room(name: str, path: Path) -> Finding:
    free = shutil.disk_usage(path).free
    what = f"{free / _GIB:.1f} GiB free for {name} at {path}"
    remedy = "Make room: without it nothing can be recorded, and so nothing changed."
    if free < _VERY_LITTLE:
        return bad("disk", what, remedy)
    return warn("disk", what, remedy) if free < _LITTLE else ok("disk", what)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _is_lost(agent: Agent) -> bool:
    try:
        agent.bearer_token()
    except UnreadableToken:
        return True
    return False
