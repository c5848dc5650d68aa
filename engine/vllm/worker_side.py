"""The connector in one of vLLM's workers: loading and saving blocks."""

import logging

from engine.cache import CacheEngine
from engine.vllm.plans import LoadPlan, StepPlan, WorkerReport, slots_of
from engine.vllm.saver import Saver

logger = logging.getLogger(__name__)


class WorkerSide:
    """For the model's thread alone."""

    def __init__(self, engine: CacheEngine, block_size: int) -> None:
        self._engine = engine
        self._block_size = block_size
        self._saver = Saver(engine, block_size)
        self._awaited: set[str] = set()
        # Since they were last asked for:
        self._loaded: set[str] = set()
        self._failed: set[str] = set()
        self._failed_blocks: set[int] = set()

    def prepare(self, plan: StepPlan) -> None:
        """Blocks of preempted requests are about to be written by others, and what was
        stored before may not be found any more."""
        if plan.preempted:
            self._saver.wait(plan.preempted)
        if plan.clears:
            self._saver.wait_for_all()
            # Bypassed ones too: their chunks would be found again later.
            self._engine.clear(self._engine.backends)

    def load(self, plan: StepPlan) -> None:
        """Bring what was planned to its blocks."""
        for load in plan.loads:
            self._loaded.add(load.request_id)
            missing = self._load(load)
            if missing:
                logger.warning(
                    "%d blocks of request %s cannot be loaded; they are computed.",
                    len(missing),
                    load.request_id,
                )
                self._failed_blocks.update(missing)
                self._failed.add(load.request_id)

    def save(self, plan: StepPlan) -> None:
        """Begin to keep what the model computed."""
        for save in plan.saves:
            self._saver.save(save)
        self._awaited |= plan.awaited

    def take_saved(self) -> set[str]:
        """Ended requests whose blocks were kept for saves that are done by now."""
        done = {name for name in self._awaited if not self._saver.is_pending(name)}
        self._awaited -= done
        return done

    def take_loaded(self) -> set[str]:
        """Requests whose loads have ended, well or not, since the last call."""
        loaded, self._loaded = self._loaded, set()
        return loaded

    def take_failed_blocks(self) -> set[int]:
        """Blocks that could not be loaded since the last call."""
        failed, self._failed_blocks = self._failed_blocks, set()
        return failed

    def take_report(self) -> WorkerReport | None:
        """What the scheduler must know; None if that is nothing."""
        saved = self._saver.take_done()
        failed, self._failed = self._failed, set()
        return WorkerReport(saved, failed) if saved or failed else None

    def close(self) -> None:
        self._saver.close()

    def _load(self, load: LoadPlan) -> list[int]:
        """The blocks that were not loaded."""
        slots = slots_of(load.block_ids, self._block_size)
        try:
            result = self._engine.retrieve_chunks(load.hashes, load.offset, slots, load.request_id)
        except Exception:
            # Whatever it is, the model can compute what is not there.
            logger.exception("Loading KV of request %s failed", load.request_id)
            return list(load.block_ids)
        return list(load.block_ids[result.num_retrieved // self._block_size :])
