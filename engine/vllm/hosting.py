"""Agents that are served from a thread of vLLM's processes."""

import asyncio
import logging
import threading
from concurrent.futures import CancelledError, Future

from engine.agent.agent import Agent
from engine.agent.auth import check_exposure
from engine.agent.listening import bind
from engine.agent.server import Listener, serve
from engine.config import EngineConfig

logger = logging.getLogger(__name__)
_STOP_SECONDS = 10.0


class AgentHost:
    """One agent on its port, as long as vLLM lives."""

    def __init__(self, agent: Agent, index: int) -> None:
        """`index` is 0 for the scheduler, 1 + i for worker i. Raises ConfigError if the
        address cannot be listened on."""
        config = agent.config
        check_exposure(config.internal_api_server_host, config.agent_token)
        bound = bind(config.internal_api_server_host, config.internal_api_server_port_start + index)
        self._listener = Listener(agent, bound)
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="kvplane-agent", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer the calls in flight for some seconds, then let go of the port. No effect
        on an agent that has ended by itself."""
        try:
            loop, stop = self._started.result(_STOP_SECONDS)
            loop.call_soon_threadsafe(stop.set)
        except (CancelledError, TimeoutError, RuntimeError):
            # It never began, or its loop is closed; vLLM has more to let go of.
            return
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        except Exception:
            # vLLM serves on without its agent.
            logger.exception("The agent has ended")
        finally:
            self._started.cancel()
            # Who calls now is refused, and does not wait for an answer.
            self._listener.socket.close()

    async def _serve(self) -> None:
        stop = asyncio.Event()
        self._started.set_result((asyncio.get_running_loop(), stop))
        await serve([self._listener], stop, _announce)


def is_served(config: EngineConfig, index: int) -> bool:
    """Whether the configuration asks for this agent."""
    included = config.internal_api_server_include_index_list
    return config.internal_api_server_enabled and (included is None or index in included)


def _announce(agent: Agent, url: str) -> None:
    logger.info("KVPlane agent %s listens on %s", agent.name, url)
