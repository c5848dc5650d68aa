"""vLLM's OpenAI-compatible server with the connector, and what a client sees of it."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.processes import clean_environment, running
from tests.support.vllm_driver import CONNECTOR, ROOT

MODEL_NAME = "smollm2"
_STOP_SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """`first_token_s` are the seconds until the first token."""

    text: str
    first_token_s: float


@contextmanager
def vllm_server(
    model: Path, port: int, log: Path, keys: Mapping[str, object]
) -> Iterator[httpx.Client]:
    """A client of the server; `keys` configure the connector."""
    url = f"http://127.0.0.1:{port}"
    transfer = {**CONNECTOR, "kv_connector_extra_config": dict(keys)}
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", MODEL_NAME, "--port", str(port)),
        *("--dtype", "float32", "--max-model-len", "4352", "--block-size", "32"),
        *("--kv-cache-memory-bytes", str(500 << 20), "--enforce-eager"),
        *("--no-enable-prefix-caching", "--kv-transfer-config", json.dumps(transfer)),
        *("--shutdown-timeout", "10"),
    ]
    environment = clean_environment(PYTHONPATH=str(ROOT), VLLM_NO_USAGE_STATS="1")
    with (
        running(command, environment, log, [f"{url}/health"]) as process,
        httpx.Client(base_url=url, timeout=300, trust_env=False) as client,
    ):
        yield client
        # The first process alone, as Docker and Kubernetes do: a second signal, which
        # vLLM's own would be, ends the others at once.
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)


def ask(client: httpx.Client, document: str, question: str) -> Answer:
    """What the model answers, and how soon it begins."""
    messages = [{"role": "user", "content": f"{document}\n\n{question}"}]
    body = {
        "model": MODEL_NAME,
        "messages": messages,
        "max_tokens": 24,
        "temperature": 0,
        "stream": True,
    }
    started = time.perf_counter()
    first: float | None = None
    words: list[str] = []
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            text = _content(line)
            if text and first is None:
                first = time.perf_counter() - started
            words.append(text)
    if first is None:
        raise RuntimeError("The model said nothing.")
    return Answer("".join(words).strip(), first)


def _content(line: str) -> str:
    """The text of one event of the stream, "" if it has none."""
    data = line.removeprefix("data: ")
    if not line.startswith("data: ") or data == "[DONE]":
        return ""
    return json.loads(data)["choices"][0]["delta"].get("content") or ""
