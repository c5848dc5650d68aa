"""What happens while somebody looks: a morning of changes, faults and refusals, in minutes.

Everything is asked for over the API, by people with tokens, and carried out on real agents.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from screenshots.people import People, Person, invite
from screenshots.stage import ADMIN, Stage
from screenshots.traffic import traffic

_CHAT = ["chat-worker-0", "chat-worker-1"]
_CODE = ["code-worker-0", "code-worker-1"]
_SCHEDULERS = ["chat-scheduler", "code-scheduler"]
_STRANGER = "rerank-worker-0"
_PATIENCE_S = 60.0
_LONG_PAUSE_S = 3_600
_MINUTE_S = 60


@dataclass(frozen=True)
class History:
    """What the pictures are taken of: operations and revisions by their ids."""

    release: str
    """An operation over four workers in waves, all of which did it."""
    partly_failed: str
    running: str
    revision: int
    """One that changed something, and was rolled back since."""
    entry: int
    """An audit entry with a difference."""


@dataclass(frozen=True)
class _Act:
    """What somebody does, after that part of the time."""

    part: float
    do: Callable[[People, Stage], object]


def enrol(stage: Stage) -> People:
    """Users, tokens, and both engines. Returns when every agent was seen."""
    people = invite(stage)
    made = people.anna.send("POST", "/api/v1/enrolment-tokens/", {"name": "rack 7"})
    stage.start_agents(str(made["token"]))
    _wait_for(people.anna, lambda agent: agent["health"] == "online")
    return people


def happen(stage: Stage, people: People, minutes: float) -> History:
    """Let that many minutes of work and changes pass. Returns what came of it."""
    began = time.monotonic()
    done: dict[str, dict[str, object]] = {}
    with traffic(stage):
        for act in _acts(done):
            remaining = began + act.part * minutes * _MINUTE_S - time.monotonic()
            time.sleep(max(0.0, remaining))
            act.do(people, stage)
        time.sleep(max(0.0, began + minutes * _MINUTE_S - time.monotonic()))
    _wait_for(people.anna, lambda agent: agent["health"] != "unknown")
    people.anna.send("POST", "/api/v1/audit/verification", {})
    return History(
        release=str(done["release"]["id"]),
        partly_failed=str(done["partly_failed"]["id"]),
        running=str(done["running"]["id"]),
        revision=int(str(done["revision"]["id"])),
        entry=int(str(people.anna.list("/api/v1/audit/", action="conf.update")[0]["id"])),
    )


def end(people: People, history: History) -> None:
    """Let the operation that still runs call nobody else."""
    people.anna.send(
        "POST", f"/api/v1/operations/{history.running}/cancel/", {"reason": "pictures taken"}
    )


def _acts(done: dict[str, dict[str, object]]) -> list[_Act]:
    """In order. What later acts or the pictures need is noted in `done`."""

    def release(people: People, stage: Stage) -> None:
        done["release"] = people.deploy.change(
            "conf.update",
            [*_CHAT, *_CODE],
            "release 2026.11: short prefixes are cheaper to compute again",
            body={"min_retrieve_tokens": 256, "blocking_timeout_secs": 4.0},
            strategy={"canary": 1, "wave_size": 2, "pause_s": 1},
        )

    def keep_decoded(people: People, stage: Stage) -> None:
        people.ben.change(
            "conf.update",
            ["chat-worker-0"],
            "follow-up questions begin with our own answers",
            body={"save_decode_cache": True, "pin_timeout_sec": 120.0},
        )
        rows = people.ben.list("/api/v1/config-revisions/", agent="chat-worker-0")
        done["revision"] = rows[0]

    def roll_back(people: People, stage: Stage) -> None:
        rows = people.ben.list("/api/v1/config-revisions/", agent="chat-worker-0")
        people.ben.send(
            "POST",
            f"/api/v1/config-revisions/{rows[1]['id']}/rollback/",
            {"reason": "decoded chunks push the prompts out of memory"},
        )

    def fail_partly(people: People, stage: Stage) -> None:
        done["partly_failed"] = people.ben.change(
            "conf.update",
            [*_CHAT, *_CODE, _STRANGER],
            "a slow store must not hold requests up",
            body={"blocking_timeout_secs": 2.0},
            strategy={"canary": 1, "wave_size": 2, "max_failures": None},
        )

    def drift(people: People, stage: Stage) -> None:
        people.anna.send("PATCH", "/api/v1/watches/chat-worker-1/", {"policy": "report"})
        with stage.agent("chat-worker-1") as agent:
            agent.post("/conf", json={"min_retrieve_tokens": 0}).raise_for_status()

    def roll_out_slowly(people: People, stage: Stage) -> None:
        done["running"] = people.deploy.send(
            "POST",
            "/api/v1/operations/",
            {
                "action": "conf.update",
                "selector": {"agents": [*_CHAT, "code-worker-0", *_SCHEDULERS]},
                "body": {"breaker_probe_interval_secs": 10.0},
                "reason": "one agent an hour: a store that fails is asked less often",
                "strategy": {"canary": 1, "wave_size": 1, "pause_s": _LONG_PAUSE_S},
            },
        )

    return [
        _Act(0.0, _label),
        _Act(0.0, _count_chunks),
        _Act(0.12, release),
        _Act(0.22, keep_decoded),
        _Act(0.30, _measure_the_disk),
        _Act(0.40, _move_the_store),
        _Act(0.48, roll_back),
        _Act(0.55, _start_cold),
        _Act(0.65, lambda people, stage: stage.crash("code-worker-1")),
        _Act(0.70, _register_a_stranger),
        _Act(0.75, fail_partly),
        _Act(0.82, _freeze),
        _Act(0.88, _be_refused),
        _Act(0.92, drift),
        _Act(0.96, roll_out_slowly),
    ]


def _label(people: People, stage: Stage) -> None:
    for engine, zone, team in (("chat", "eu-1", "assist"), ("code", "eu-2", "tools")):
        labels = {"zone": zone, "team": team}
        document = {"name": engine, "labels": labels}
        people.anna.send("PUT", f"/api/v1/engines/{engine}/", document)
    people.anna.send("PATCH", "/api/v1/agents/code-worker-0/", {"labels": {"gpu": "h100"}})


def _count_chunks(people: People, stage: Stage) -> None:
    reason = "how much of our prompts repeats?"
    people.ben.change("conf.update", _SCHEDULERS, reason, body={"enable_chunk_statistics": True})
    people.ben.change("lookup.recreate", _SCHEDULERS, reason)
    people.ben.change("chunk_statistics.start", _SCHEDULERS, reason)


def _measure_the_disk(people: People, stage: Stage) -> None:
    people.ben.change(
        "hot_cache.disable",
        ["chat-worker-1"],
        "what does the disk alone give?",
        expires_in_s=45 * _MINUTE_S,
    )


def _move_the_store(people: People, stage: Stage) -> None:
    people.anna.change(
        "bypass.add",
        _CODE,
        "the shared file system moves tonight",
        parameters={"backend_name": "RemoteBackend"},
        expires_in_s=120 * _MINUTE_S,
    )


def _start_cold(people: People, stage: Stage) -> None:
    people.ben.change("cache.clear", ["chat-worker-0"], "a cold start, to compare with")


def _register_a_stranger(people: People, stage: Stage) -> None:
    """An LMCache process that nobody has started yet."""
    people.anna.send(
        "POST",
        "/api/v1/agents/",
        {
            "name": _STRANGER,
            "url": "http://127.0.0.1:9",
            "role": "worker",
            "worker_id": 0,
            "engine": "rerank",
            "dialect": "lmcache",
        },
    )


def _freeze(people: People, stage: Stage) -> None:
    people.deploy.change(
        "freeze.enable", ["chat-worker-0"], "deploy 42", expires_in_s=20 * _MINUTE_S
    )


def _be_refused(people: People, stage: Stage) -> None:
    """Somebody who may only look, a token that nobody has, and a wrong password."""
    people.carla.client.put("/agents/chat-worker-0/freeze/disable")
    with stage.client("kvp_a-token-that-was-revoked-long-ago") as stranger:
        stranger.get("/api/v1/agents/")
    with httpx.Client(base_url=stage.url, trust_env=False) as browser:
        browser.get("/api/auth/login/")
        form = {"csrfmiddlewaretoken": browser.cookies["kvplane_csrf"]}
        browser.post(
            "/api/auth/login/", data={**form, "username": ADMIN, "password": "correct-horse"}
        )


def _wait_for(person: Person, holds: Callable[[dict[str, object]], bool]) -> None:
    """Until it holds of every agent. Raises TimeoutError."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (agents := person.list("/api/v1/agents/")) or not all(map(holds, agents)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {_PATIENCE_S:.0f} s: {agents}")
        time.sleep(0.5)
