"""The commands as a script uses them: real processes, real agents, a real database,
`--json` into jq, and exit codes."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.controlplane import prepare, register
from tests.support.processes import ROOT, clean_environment, free_ports, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
TOKEN = "agent-token-of-the-commands"
CHUNK = 16
TOKENS = 4 * CHUNK


@dataclass(frozen=True)
class Installation:
    """A database with an engine of a scheduler and two workers in it."""

    environment: dict[str, str]
    urls: dict[str, str]

    def script(self, text: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a bash script, which knows `manage.py` as this installation's program."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f'm() {{ ./manage.py "$@"; }}\n{text}'],
            cwd=ROOT,
            env={**self.environment, **settings},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def output(self, text: str) -> str:
        """What a script that succeeds writes."""
        finished = self.script(text)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout.strip()

    def is_frozen(self, name: str) -> bool:
        answer = httpx.get(
            f"{self.urls[name]}/freeze/status",
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        )
        return bool(answer.json()["freeze"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("commands")
    port = free_ports(3)
    urls = {
        name: f"http://127.0.0.1:{port + number}"
        for number, name in enumerate(("scheduler", "worker-0", "worker-1"))
    }
    environment = clean_environment(KVPLANE_DATA_DIR=str(directory / "data"))
    # As in an activated virtual environment.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    prepare(environment, "root", "admin")
    with ExitStack() as opened:
        opened.enter_context(
            running(
                [sys.executable, "-m", "engine"],
                agent_settings(port),
                directory / "engine.log",
                [f"{url}/health" for url in urls.values()],
            )
        )
        for name, url in urls.items():
            worker_id = None if name == "scheduler" else int(name[-1])
            register(environment, name, url, engine="prod", worker_id=worker_id, token=TOKEN)
        register(
            environment, "ghost", "http://127.0.0.1:1", engine="ghosts", worker_id=0, token=TOKEN
        )
        yield Installation(environment, urls)


def agent_settings(port: int) -> dict[str, str]:
    keys = {
        "AGENT_TOKEN": TOKEN,
        "INTERNAL_API_SERVER_PORT_START": str(port),
        "WORKER_IDS": "[0, 1]",
        "WORLD_SIZE": "2",
        "LMCACHE_INSTANCE_ID": "prod",
        "NUM_LAYERS": "2",
        "NUM_KV_HEADS": "1",
        "HEAD_SIZE": "8",
        "KV_DTYPE": "float32",
        "BLOCK_SIZE": "4",
        "NUM_BLOCKS": "64",
        "CHUNK_SIZE": str(CHUNK),
        "MAX_LOCAL_CPU_SIZE": "0.01",
    }
    return clean_environment(**{f"KVPLANE_{key}": value for key, value in keys.items()})


def test_script__pipes_of_json__do_real_work(installed: Installation) -> None:
    assert installed.output("m agents list --json | jq -r '.agents[].name'").split() == [
        *("ghost", "scheduler", "worker-0", "worker-1")
    ]
    stored = "m cache store 0,%d --engine prod --json | jq '[.targets[].answer.num_stored] | add'"
    assert installed.output(stored % TOKENS) == str(2 * TOKENS)
    found = f"m lookup query 0,{TOKENS} --json | jq '.targets[0].answer.num_hit'"
    assert installed.output(found) == str(TOKENS)
    checksums = (
        "m cache check --slot-mapping '[0,7]' --chunk-size 4 --engine prod --json"
        " | jq -c '[.targets[].answer.num_chunks]'"
    )
    assert installed.output(checksums) == "[2,2]"
    removed = "m cache clear --engine prod --json | jq '[.targets[].answer.num_removed] | add'"
    assert installed.output(removed) == str(2 * TOKENS // CHUNK)
    raised = """
        id=$(m conf set min_retrieve_tokens=32 --engine prod --reason tuning --json | jq -r .id)
        m operations show "$id" --json | jq -r '[.state, .reason, .actor_kind] | join(" ")'
        m conf get --names min_retrieve_tokens --engine prod --json \
            | jq -c '[.targets[].answer.min_retrieve_tokens]'
    """
    assert installed.output(raised).splitlines() == ["succeeded tuning command", "[32,32,32]"]


def test_script__frozen_for_a_while__stores_nothing_and_loads_nothing(
    installed: Installation,
) -> None:
    ends = installed.output(
        "m freeze enable --engine prod --reason deploy --expires-in 20m --json"
        " | jq -r .options.expires_at"
    )
    assert ends
    assert installed.is_frozen("worker-0")
    assert installed.is_frozen("worker-1")

    stored = "m cache store 0,16 --agent worker-0 --json | jq '.targets[0].answer.num_stored'"
    assert installed.output(stored) == "0"
    loaded = installed.script("m cache load /nowhere.yaml --agent worker-0")
    assert loaded.returncode == 1
    assert "Traceback" not in loaded.stderr

    thawed = installed.output("m freeze disable --engine prod --json | jq -r .state")
    assert thawed == "succeeded"
    assert not installed.is_frozen("worker-0")


@pytest.mark.parametrize(
    ("command", "code", "filter_", "shown"),
    [
        ("freeze status --engine prod", 0, "[.targets[].state] | unique[0]", "succeeded"),
        ("bypass add LocalCPUBackend --agent worker-1", 0, ".targets[0].answer.bypassed", "true"),
        ("bypass remove LocalCPUBackend --agent worker-1", 0, ".state", "succeeded"),
        ("conf set min_retrieve_tokens=-5 --agent worker-0", 1, ".state", "failed"),
        ("bypass add NoBackend --engine prod", 1, ".state", "failed"),
        ("cache store 9,1 --engine prod", 2, ".error", "Invalid parameter"),
        ("freeze enable --engine prod --engine ghosts", 3, ".targets[0].error.agent", "ghost"),
        ("freeze disable --all --wait 60s", 3, ".state", "partially_failed"),
        ("hotcache status --all", 3, "[.targets[].state] | unique | length", "2"),
        ("freeze enable --agent ghost", 4, ".targets[0].status", "502"),
        ("freeze status --agent ghost", 4, ".targets[0].error.error", "Agent unreachable"),
        ("freeze enable", 5, ".candidates | length", "3"),
        ("freeze enable --agent nobody", 5, ".error", "Nobody selected"),
        ("conf set save_decode_cache=true --agent worker-1 --expected-revision 99", 5, ".error",
         "Revision conflict"),
        ("cache clear --all --wait 0", 7, ".state", "pending"),
    ],
)  # fmt: skip
def test_exit__as_documented__and_one_document_whatever_happens(
    installed: Installation, command: str, code: int, filter_: str, shown: str
) -> None:
    finished = installed.script(f"m {command} --json")

    assert finished.returncode == code, finished.stderr
    read = subprocess.run(
        ["jq", "-r", filter_], input=finished.stdout, capture_output=True, text=True, check=True
    )
    assert read.stdout.strip() == shown
    assert "Traceback" not in finished.stderr
    assert (finished.stderr == "") == (code == 0)


def test_exit__arguments_that_cannot_be_read__2_and_nothing_on_standard_output(
    installed: Installation,
) -> None:
    finished = installed.script("m freeze enabel --json")

    assert (finished.returncode, finished.stdout) == (2, "")
    assert "enabel" in finished.stderr


def test_exit__database_away__6_in_one_line(installed: Installation) -> None:
    finished = installed.script(
        "m freeze enable --engine prod", DATABASE_URL="postgres://nobody@127.0.0.1:1/none"
    )

    assert (finished.returncode, finished.stdout) == (6, "")
    assert finished.stderr.startswith("CommandError: The database failed: ")
    assert "Traceback" not in finished.stderr


def test_progress__standard_error_is_a_terminal__a_bar_there_and_json_on_standard_output(
    installed: Installation,
) -> None:
    ours, theirs = pty.openpty()
    finished = subprocess.run(
        [
            *("./manage.py", "freeze", "disable", "--engine", "prod", "--json"),
            *("--wave-size", "1", "--pause", "1s"),
        ],
        cwd=ROOT,
        env={**installed.environment, "TERM": "xterm-256color"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)

    assert json.loads(finished.stdout)["state"] == "succeeded"
    assert "freeze.disable" in shown
    assert "1/2" in shown


def test_ctrl_c__in_the_middle__a_controller_goes_on(installed: Installation) -> None:
    command = [
        *("./manage.py", "freeze", "enable", "--engine", "prod", "--json"),
        *("--wave-size", "1", "--pause", "8s"),
    ]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=installed.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        eventually(lambda: installed.is_frozen("worker-0"), "the first wave did not come")
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert process.returncode == 7, f"{out}\n{err}"
    document = json.loads(out)
    assert document["id"] in err
    assert [target["state"] for target in document["targets"]] == ["succeeded", "pending"]
    assert not installed.is_frozen("worker-1")
    controller = subprocess.Popen(
        ["./manage.py", "runcontroller"],
        cwd=ROOT,
        env=installed.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: installed.is_frozen("worker-1"), "no controller went on")
    finally:
        controller.send_signal(signal.SIGTERM)
        controller.wait(60)
    state = f"m operations show {document['id']} --json | jq -r .state"
    assert installed.output(state) == "succeeded"
    assert installed.output("m freeze disable --engine prod --json | jq -r .state") == "succeeded"


def test_doctor__real_agents__only_what_is_wrong_is_wrong(installed: Installation) -> None:
    finished = installed.script("m doctor --json")

    assert finished.returncode == 1
    findings = json.loads(finished.stdout)["findings"]
    assert [one["what"].split(":")[0] for one in findings if one["level"] == "bad"] == ["ghost"]
    clocks = [one["what"] for one in findings if one["area"] == "clocks"]
    assert {f"{name}'s clock agrees with this host's" for name in installed.urls} <= set(clocks)
    assert all(one["remedy"] for one in findings if one["level"] != "ok")


def test_audit__after_all_of_it__every_run_is_there_and_the_log_is_whole(
    installed: Installation,
) -> None:
    installed.output("m verify_audit")
    exported = installed.output(
        "m export_audit | jq -c '.entry | [.operation_id, .stage, .actor_kind]'"
    )
    entries = [json.loads(line) for line in exported.splitlines()]
    listed = json.loads(installed.output("m operations list --limit 1000 --json"))["operations"]

    assert len(listed) > 3
    for operation in listed:
        trail = [
            (stage, kind) for identifier, stage, kind in entries if identifier == operation["id"]
        ]
        ends = {"requested", "completed"} if operation["finished_at"] else {"requested"}
        assert {stage for stage, _ in trail} == ends
        assert {kind for _, kind in trail} == {"command"}
