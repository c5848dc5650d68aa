"""Prompts that the engines work on meanwhile: what repeats is found, what is new is stored."""

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from screenshots.stage import ENGINES, Stage

_CHUNK = 256
_DOCUMENTS = 14
_MOST_CHUNKS = 10
_TOKENS_OF_ONE = 100_000
_NEW_ONES = 0.12
_REST_SECONDS = 0.6


@contextmanager
def traffic(stage: Stage) -> Iterator[None]:
    """Prompts on both engines as long as this is open."""
    ended = threading.Event()
    threads = [
        threading.Thread(target=_serve, args=(stage, engine, ended), name=f"traffic-{engine}")
        for engine in ENGINES
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _serve(stage: Stage, engine: str, ended: threading.Event) -> None:
    # The same prompts each time: pictures are compared with those before.
    prompts = _prompts(random.Random(engine))
    with ExitStack() as opened:
        scheduler = opened.enter_context(stage.agent(f"{engine}-scheduler"))
        workers = [opened.enter_context(stage.agent(f"{engine}-worker-{n}")) for n in (0, 1)]
        while not ended.wait(_REST_SECONDS):
            tokens = {"tokens_mock": next(prompts)}
            _call(scheduler, "/lookup/query", tokens)
            for worker in workers:
                _call(worker, "/cache/retrieve", tokens)
                _call(worker, "/cache/store", tokens)


def _prompts(chance: random.Random) -> Iterator[str]:
    """Some documents are asked about often, some seldom, and now and then there is a new
    one. The range of the mock tokens, as the agents read it."""
    documents = list(range(_DOCUMENTS))
    while True:
        if chance.random() < _NEW_ONES:
            documents.append(len(documents))
        place = min(int(chance.expovariate(0.25)), len(documents) - 1)
        start = documents[-1 - place] * _TOKENS_OF_ONE
        yield f"{start},{start + _CHUNK * chance.randint(2, _MOST_CHUNKS)}"


def _call(agent: httpx.Client, path: str, tokens: dict[str, str]) -> None:
    try:
        agent.post(path, params=tokens)
    except httpx.TransportError:
        # One that crashed does not answer, and the others go on.
        return
