"""docs/clients.md is true: its snippets run, and the TypeScript example with them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kvplane_client import AuthenticatedClient
from kvplane_client.api.freeze import disable_freeze_of_agent
from kvplane_client.api.operations import list_operations

from tests.functional.conftest import TOKEN, Stack
from tests.support.generated_client import generate, generated_clients
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

TEXT = (ROOT / "docs" / "clients.md").read_text("utf-8")
EXAMPLE = ROOT / "examples" / "typescript"
NODE = Path(sys.prefix) / "bin" / "node"
WORKER = "smollm2-worker-0"


def blocks(language: str) -> list[str]:
    """What stands between ```language and ```."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def run(command: list[str | Path], directory: Path, **environment: str) -> str:
    """The output of a program that ends well; loopback needs no proxy."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
    finished = subprocess.run(
        command,
        cwd=directory,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def types() -> None:
    """The TypeScript types lie where the example imports them from."""
    if not (EXAMPLE / "node_modules").exists():
        pytest.fail("examples/typescript has no node_modules: run requirements/node.sh .venv")
    generate(ROOT / "clients", "typescript")


def test_python_snippets__one_after_the_other__do_what_they_say(
    stack: Stack, operator: AuthenticatedClient, tokens: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "snippets.py"
    script.write_text("\n".join(blocks("python")))
    projects = generated_clients() / "python"
    output = run(
        [sys.executable, script],
        tmp_path,
        PYTHONPATH=f"{projects / 'kvplane-client'}:{projects / 'kvplane-agent-client'}",
        KVPLANE_URL=stack.url,
        KVPLANE_TOKEN=tokens["operator"],
        KVPLANE_AGENT_URL=f"http://127.0.0.1:{stack.ports['smollm2-scheduler']}",
        KVPLANE_AGENT_TOKEN=TOKEN,
    )
    for line in (
        "Freeze mode enabled successfully",
        "completed freeze.enable some-operator/of the operator Umzug: 搬遷",
        "set: {'min_retrieve_tokens': 512} "
        "refused: {'chunk_size': 'Config is not mutable at runtime'}",
        "succeeded {'smollm2-worker-0': 'succeeded', 'smollm2-worker-1': 'succeeded'}",
        "scheduler",
    ):
        assert line in output.splitlines()
    (last, *_) = list_operations.sync(client=operator, action="hot_cache.enable").results
    assert last.reason == "after the benchmark"


def test_python_client__installed_with_pip__imports(tmp_path: Path) -> None:
    project = generated_clients() / "python" / "kvplane-client"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    run([*pip, "--disable-pip-version-check", "--target", tmp_path, project], tmp_path)
    program = "from kvplane_client.api.agents import list_agents; print(list_agents.sync.__name__)"
    assert run([sys.executable, "-c", program], tmp_path, PYTHONPATH=str(tmp_path)) == "sync\n"


@pytest.mark.usefixtures("types")
def test_typescript__checked_strictly__has_no_error_but_those_that_it_must_have() -> None:
    run([NODE, EXAMPLE / "node_modules" / "typescript" / "bin" / "tsc", "--noEmit"], EXAMPLE)


@pytest.mark.usefixtures("types")
def test_typescript_example__run__freezes_an_agent_and_reads_why(
    stack: Stack, operator: AuthenticatedClient, tokens: dict[str, str]
) -> None:
    output = run(
        [NODE, "src/freeze.ts", WORKER],
        EXAMPLE,
        KVPLANE_URL=stack.url,
        KVPLANE_TOKEN=tokens["operator"],
    )
    lines = output.splitlines()
    assert f"{WORKER}: worker of smollm2, online" in lines
    assert f"{WORKER}: Freeze mode enabled successfully" in lines
    for stage in ("requested", "completed"):
        said = "freeze.enable by some-operator/of the operator: déploiement — a TypeScript example"
        assert f"{stage}: {said}" in lines
    assert disable_freeze_of_agent.sync(WORKER, client=operator).freeze is False


@pytest.mark.usefixtures("types")
def test_typescript_example__refused__says_so(stack: Stack, tokens: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="403 Forbidden: "):
        run(
            [NODE, "src/freeze.ts", WORKER],
            EXAMPLE,
            KVPLANE_URL=stack.url,
            KVPLANE_TOKEN=tokens["viewer"],
        )


def test_typescript_snippets__of_the_docs__are_of_the_example() -> None:
    source = (EXAMPLE / "src" / "freeze.ts").read_text("utf-8")
    snippets = blocks("typescript")
    assert snippets
    for snippet in snippets:
        assert snippet in source


def test_shell_snippets__of_the_docs__name_what_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    scripts = (EXAMPLE / "package.json").read_text("utf-8")
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    for target in re.findall(r"^make (\S+)$", "\n".join(lines), flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
    for script in re.findall(r"npm run (\S+)", "\n".join(lines)):
        assert f'"{script}":' in scripts
