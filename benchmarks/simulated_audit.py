"""A log of any length, as a fleet of 200 agents would leave it."""

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from controlplane.audit import chain
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.difference import difference
from controlplane.audit.entries import Content, encode, moment
from controlplane.audit.keys import KeyRing

AGENTS = [f"prod-{number:03d}" for number in range(200)]
ENGINES = [f"engine-{number}" for number in range(10)]
ACTORS = [f"user{number}" for number in range(30)]
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 90
Row = tuple[int, str, str, str, str]

_KEYS = ("max_local_cpu_size", "min_retrieve_tokens", "remote_url", "save_decode_cache", "pin")
_CHANCE = (
    ("conf.update", 30),
    ("freeze.enable", 25),
    ("bypass.add", 15),
    ("user.login", 10),
    ("access.denied", 10),
    ("agent.online", 10),
)


def rows(count: int, keys: KeyRing, head: chain.Head) -> Iterator[Row]:
    """So many rows that go on after `head`."""
    chance = random.Random(7)
    number, previous = head.id, head.mac
    step = timedelta(days=DAYS) / count
    for place in range(count):
        number += 1
        content = content_of(chance, place)
        document = encode(content.scalars(), content.parts()).at(moment(BEGIN + step * place))
        mac = chain.mac_of(keys, document, number, head.next_key, previous)
        yield number, head.next_key, previous, mac, document.decode()
        previous = mac


def content_of(chance: random.Random, place: int) -> Content:
    """One entry."""
    action = chance.choices([name for name, _ in _CHANCE], [weight for _, weight in _CHANCE])[0]
    which = chance.randrange(len(AGENTS))
    has_agent = action not in ("user.login", "access.denied")
    actor = chance.choice(ACTORS)
    before, after = _states(chance, action, place)
    return Content(
        stage="completed",
        action=action,
        actor=Actor(ActorKind.TOKEN, f"{actor}/ci", f"token:{actor[4:]}", "10.0.0.7", "kv/1.2"),
        request_id=f"req-{place // 3:08d}",
        operation_id=uuid.UUID(int=chance.getrandbits(128), version=4) if has_agent else None,
        target=f"agent:{AGENTS[which]}" if has_agent else f"user:{actor}",
        agent=AGENTS[which] if has_agent else "",
        engine=ENGINES[which % len(ENGINES)] if has_agent else "",
        reason=chance.choice(("", "deploy 42", "night shift", "asked for by on-call")),
        request={"method": "POST", "path": f"/agents/{AGENTS[which]}/conf", "headers": {}},
        answer={"status": "success", "message": "done", "took_ms": chance.random() * 20},
        before=before,
        after=after,
        diff=None if before is None or after is None else difference(before, after),
        outcome=chance.choices(("succeeded", "failed", "denied", "unknown"), (90, 6, 3, 1))[0],
        status=chance.choice((200, 200, 200, 502, 403)),
        duration_ms=chance.random() * 50,
    )


def _states(
    chance: random.Random, action: str, place: int
) -> tuple[dict[str, object] | None, dict[str, object] | None]:
    if action == "conf.update":
        changed = chance.sample(_KEYS, chance.randint(1, 3))
        after: dict[str, object] = {key: f"value {chance.randrange(10_000)}" for key in changed}
        # Three in a hundred thousand, to be looked for.
        if place % 33_000 == 0:
            after["extra"] = "needle-in-the-log"
        return {key: f"value {chance.randrange(10_000)}" for key in changed}, after
    if action in ("freeze.enable", "bypass.add"):
        return {"freeze": False}, {"freeze": True}
    return None, None
