"""The engine's agent: the contract served over HTTP, next to the KV cache."""

from engine.agent.agent import Agent
from engine.agent.app import AgentApp, create_app

__all__ = ["Agent", "AgentApp", "create_app"]
