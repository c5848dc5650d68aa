"""Saving chunks beside the model's thread."""

import logging
import queue
import threading
from collections import Counter

import torch

from engine.cache import CacheEngine
from engine.threads import step_back
from engine.vllm.plans import SavePlan, slots_of

logger = logging.getLogger(__name__)
_NICENESS = 10


class Saver:
    """Copies blocks into storage in a thread of its own, one save after the other.
    Whoever gives blocks to others waits for the saves that still read them."""

    def __init__(self, engine: CacheEngine, block_size: int) -> None:
        self._engine = engine
        self._block_size = block_size
        self._torch = torch.get_device_module(engine.kv_cache.device)
        self._jobs: queue.SimpleQueue[tuple[SavePlan, torch.Event] | None] = queue.SimpleQueue()
        self._pending: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="kv-saver", daemon=True)
        self._thread.start()

    def save(self, plan: SavePlan) -> None:
        """Begin to save what the model's stream has computed by now. Does not wait."""
        computed = self._torch.Event()
        computed.record()
        with self._changed:
            self._pending[plan.request_id] += 1
        self._jobs.put((plan, computed))

    def wait(self, request_ids: set[str]) -> None:
        """Return once no save of these requests is under way."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending.keys().isdisjoint(request_ids))

    def wait_for_all(self) -> None:
        """Return once no save is under way."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending)

    def is_pending(self, request_id: str) -> bool:
        with self._changed:
            return request_id in self._pending

    def take_done(self) -> dict[str, int]:
        """How many saves of each request were done since the last call."""
        with self._changed:
            done, self._done = self._done, Counter()
        return dict(done)

    def close(self) -> None:
        """Finish what was begun."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        step_back(_NICENESS)
        # The default stream may be the model's: a save must not wait for its next steps.
        with self._torch.stream(self._torch.Stream(self._engine.kv_cache.device)):
            while (job := self._jobs.get()) is not None:
                self._save(*job)

    def _save(self, plan: SavePlan, computed: torch.Event) -> None:
        try:
            computed.synchronize()
            slots = slots_of(plan.block_ids, self._block_size)
            self._engine.store_chunks(plan.hashes, slots, plan.request_id)
        except Exception:
            # A cache that cannot keep something must not end its model.
            logger.exception("Saving KV of request %s failed", plan.request_id)
        with self._changed:
            self._done[plan.request_id] += 1
            self._pending[plan.request_id] -= 1
            if not self._pending[plan.request_id]:
                del self._pending[plan.request_id]
            self._changed.notify_all()
