"""Lookup clients and servers that are made anew while lookups go on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from engine.config import EngineConfig
from engine.contract import Role
from engine.lookup.client import PENDING, LookupClient, Pending, Prompt
from engine.lookup.factory import (
    NOBODY,
    make_client,
    make_server,
    plan_client,
    planned_server,
)
from engine.lookup.index import ChunkIndex, LocalWorkers
from engine.lookup.kept_statistics import KeptStatistics
from engine.lookup.server import LookupServer
from engine.lookup.statistics import ChunkStatistics
from engine.lookup.tally import SCHEDULER_EVENTS, WORKER_EVENTS, Event, LookupTally
from engine.metadata import EngineMetadata
from engine.tokens import Tokens, as_token_array, chunk_hashes, root_hash

_POLL_S: Final = 0.001


class Replacement(NamedTuple):
    """Names of the client or server before and after; "None" where there is none."""

    old: str
    new: str


class StatisticsUnavailable(Exception):
    """The lookup client does not count chunks."""


class _Shared:
    """A client and those who use it. Whoever is the last to leave closes it, so that
    neither a lookup nor whoever replaces the client waits for the other."""

    def __init__(self, client: LookupClient) -> None:
        self.client = client
        self._users = 1
        self._changing = threading.Lock()

    def enter(self) -> bool:
        """Whether the client may be used; then `leave` must follow."""
        with self._changing:
            if self._users == 0:
                return False
            self._users += 1
            return True

    def leave(self) -> None:
        with self._changing:
            self._users -= 1
            is_last = self._users == 0
        if is_last:
            self.client.close()


class LookupClients:
    """The scheduler's lookup client, and the statistics that outlive it. Thread-safe.

    A lookup uses the client that was there when it began. Making another one does
    not wait for lookups in progress.
    """

    role: Final = Role.SCHEDULER

    def __init__(
        self,
        config: EngineConfig,
        metadata: EngineMetadata,
        local: LocalWorkers,
        mock_salt: str = "",
    ) -> None:
        """`local` are the engine's workers in this process; `mock_salt` is what they store
        mock tokens with. There is no client yet."""
        self._mock_salt = mock_salt
        self._config = config
        self._metadata = metadata
        self._local = local
        self._tally = LookupTally(SCHEDULER_EVENTS)
        self._shared: _Shared | None = None
        """None: there is no client, and nothing is cached."""
        self._statistics = KeptStatistics(config)
        self._counting: ChunkStatistics | None = None
        """None: the client feeds none, or there is no client."""
        self._managing = threading.Lock()

    @property
    def client_name(self) -> str:
        """The chain of the client, as `/lookup/info` shows it."""
        shared = self._shared
        return NOBODY if shared is None else shared.client.describe()

    @property
    def server_name(self) -> str:
        return NOBODY

    @property
    def name(self) -> str:
        """What is made and closed here."""
        return self.client_name

    def lookup(self, tokens: Tokens, request_id: str, cache_salt: str = "") -> int | Pending:
        """How many leading tokens every worker has cached, or PENDING: ask again with the
        same request id. Raises InvalidTokens."""
        started = time.perf_counter()
        prompt = self._prompt(tokens, request_id, cache_salt)
        return self._look_up(prompt, started)

    def lookup_prompt(self, prompt: Prompt) -> int | Pending:
        """As lookup, for a prompt that is hashed already."""
        return self._look_up(prompt, time.perf_counter())

    def _look_up(self, prompt: Prompt, started: float) -> int | Pending:
        answer: int | Pending = 0
        with self._client() as client:
            if client is not None:
                answer = client.lookup(prompt)
        self._tally.add(Event.SECONDS, time.perf_counter() - started)
        if not isinstance(answer, Pending):
            self._tally.add(Event.LOOKUPS)
            self._tally.add(Event.TOKENS, prompt.num_tokens)
            self._tally.add(Event.HIT_TOKENS, answer)
        return answer

    def find_mock(self, tokens: Tokens, request_id: str) -> int:
        """As lookup, for mock tokens, but waits for the answer, and keeps nothing for the
        request. Raises InvalidTokens."""
        deadline = time.monotonic() + 2 * self._config.lookup_timeout_ms / 1000
        answer = self.lookup(tokens, request_id, self._mock_salt)
        # A client that was made meanwhile asks anew, and has its own timeout.
        while answer is PENDING and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            answer = self.lookup(tokens, request_id, self._mock_salt)
        self.forget(request_id)
        return 0 if isinstance(answer, Pending) else answer

    def forget(self, request_id: str) -> None:
        """The request has ended: what was kept for it may go."""
        with self._client() as client:
            if client is not None:
                client.forget(request_id)

    def preview(self) -> Replacement:
        """What `create` would do now; nothing is opened or closed. Raises
        LookupUnavailable as it would."""
        return Replacement(self.client_name, plan_client(self._config, self._local).describe())

    def create(self) -> Replacement:
        """Put the client that the configuration asks for in the place of the present one.
        Raises LookupUnavailable; the present one then stays."""
        with self._managing:
            plan = plan_client(self._config, self._local)
            made = make_client(
                plan,
                self._config,
                self._metadata,
                self._local,
                self._tally,
                self._statistics.fitting,
            )
            if (
                plan.counts_chunks
                and self._counting is None
                and self._config.chunk_statistics_auto_start_statistics
            ):
                self._statistics.present().start()
            self._counting = self._statistics.present() if plan.counts_chunks else None
            return Replacement(self._replace(_Shared(made)), made.describe())

    def close(self) -> str:
        """Have no client; the name of the one that there was. Until the next create
        nothing counts as cached."""
        with self._managing:
            self._counting = None
            return self._replace(None)

    def shut_down(self) -> None:
        """Let go of client and statistics; there is no way back."""
        self.close()
        self._statistics.close()

    @property
    def statistics(self) -> ChunkStatistics:
        """What the present client counts chunks in; does not wait for a client that is
        being made. Raises StatisticsUnavailable."""
        counting = self._counting
        if counting is None:
            raise StatisticsUnavailable
        return counting

    def counters(self) -> dict[str, float]:
        """What lookups did since the start."""
        return self._tally.snapshot()

    def _prompt(self, tokens: Tokens, request_id: str, cache_salt: str) -> Prompt:
        array = as_token_array(tokens)
        chunk_size = self._metadata.chunk_size
        num_tokens = array.size
        if not self._config.save_unfull_chunk:
            array = array[: num_tokens - num_tokens % chunk_size]
        root = root_hash(self._metadata.model_name, chunk_size, cache_salt)
        return Prompt(request_id, num_tokens, chunk_size, chunk_hashes(root, array, chunk_size))

    @contextmanager
    def _client(self) -> Iterator[LookupClient | None]:
        """The present client, which stays usable meanwhile; None if there is none."""
        shared = self._shared
        while shared is not None and not shared.enter():
            shared = self._shared
        if shared is None:
            yield None
            return
        try:
            yield shared.client
        finally:
            shared.leave()

    def _replace(self, shared: _Shared | None) -> str:
        """The name of the client that was replaced."""
        replaced, self._shared = self._shared, shared
        if replaced is None:
            return NOBODY
        name = replaced.client.describe()
        replaced.leave()
        return name


class LookupServers:
    """A worker's lookup server. Thread-safe."""

    role: Final = Role.WORKER

    def __init__(self, config: EngineConfig, metadata: EngineMetadata, index: ChunkIndex) -> None:
        """`metadata` are a worker's. There is no server yet."""
        if metadata.worker_id is None:
            raise ValueError("A scheduler has no lookup server.")
        self._config = config
        self._worker_id = metadata.worker_id
        self._root = root_hash(metadata.model_name, metadata.chunk_size)
        self._index = index
        self._tally = LookupTally(WORKER_EVENTS)
        self._server: LookupServer | None = None
        """None: whoever asks gets no answer."""
        self._managing = threading.Lock()

    @property
    def client_name(self) -> str:
        return NOBODY

    @property
    def server_name(self) -> str:
        """The name of the server, as `/lookup/info` shows it."""
        server = self._server
        return NOBODY if server is None else server.describe()

    @property
    def name(self) -> str:
        """What is made and closed here."""
        return self.server_name

    def preview(self) -> Replacement:
        """What `create` would do now; nothing is bound."""
        return Replacement(self.server_name, planned_server(self._config, self._worker_id))

    def create(self) -> Replacement:
        """Put the server that the configuration asks for in the place of the present one;
        none if this worker is not asked. Raises LookupUnavailable if it cannot
        listen; there is none then."""
        with self._managing:
            old = self._close()
            name = planned_server(self._config, self._worker_id)
            if name != NOBODY:
                self._server = make_server(
                    name, self._config, self._worker_id, self._root, self._index, self._tally
                )
            return Replacement(old, name)

    def close(self) -> str:
        """Have no server; the name of the one that there was."""
        with self._managing:
            return self._close()

    def shut_down(self) -> None:
        self.close()

    def counters(self) -> dict[str, float]:
        """What the servers answered since the start."""
        return self._tally.snapshot()

    def _close(self) -> str:
        old, self._server = self._server, None
        if old is None:
            return NOBODY
        old.close()
        return old.describe()


Lookup = LookupClients | LookupServers
