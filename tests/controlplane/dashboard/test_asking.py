"""What an agent is asked because a person wants to know: its lookup, its KV cache."""

import json
import re

import pytest
from django.test import Client

from controlplane.audit.models import AuditEntry
from controlplane.audit.reads import ReadPolicy
from controlplane.fleet.models import Agent, Dialect
from controlplane.forwarding.transport import NotSent, WireRequest
from controlplane.operations.models import Operation, State
from engine.contract import Role
from tests.controlplane.wire import FakeAgents, reply

# The runner's threads have connections of their own.
pytestmark = pytest.mark.django_db(transaction=True)

KEY = "4" * 32
AGENT = "/dashboard/agents/worker-0/"
KVCACHE = f"{AGENT}kvcache/"
RECREATE = f"{AGENT}lookup/"
CHAIN = "HitLimitLookupClient(LMCacheLookupClient)"
LAYER = {"shape": [2, 16, 16, 2, 64], "dtype": "torch.bfloat16", "device": "cuda:0"}
LAYOUT = {
    "status": "success",
    "num_layers": 3,
    "layers": {"layer_0": LAYER, "layer_1": LAYER, "layer_2": {**LAYER, "dtype": "torch.float16"}},
}


def text_of(answer) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def answering(agents: FakeAgents, **answers: tuple[int, object]) -> None:
    """Paths end with the names in `answers`."""

    def respond(request: WireRequest):
        path = request.target.partition("?")[0]
        status, document = answers[path.rpartition("/")[2]]
        return reply(document, status)

    agents.respond = respond


def silent(request: WireRequest):
    raise NotSent("connection refused")


@pytest.fixture
def scheduler(make_agent, seen) -> Agent:
    agent = make_agent("scheduler", role=Role.SCHEDULER)
    said = {"lookup": {"client": CHAIN, "server": "None"}, "storage": {}}
    return seen(agent, said=said)


def test_agent__scheduler__lookup_client_from_the_outside_in_and_no_kv_cache(
    operator, scheduler
) -> None:
    page = operator.get("/dashboard/agents/scheduler/")
    assert "Lookup client Recreate… HitLimitLookupClient → LMCacheLookupClient" in text_of(page)
    assert "Storage" not in text_of(page)
    assert "/kvcache/" not in page.content.decode()


def test_agent__worker__lookup_server_tiers_and_counters(operator, make_agent, seen) -> None:
    said = {
        "lookup": {"client": "None", "server": "LMCacheLookupServer"},
        "storage": {
            "LocalCPUBackend": {"capacity_bytes": 1 << 30, "used_bytes": 1 << 29, "chunks": 1200},
            "RemoteBackend": {"used_bytes": 0, "chunks": 0, "breaker": "open", "queued": 12},
        },
        "counters": {"stored_tokens": 25600, "lookup_seconds": 0.25, "odd": "many", "on": True},
    }
    seen(make_agent(), said=said)
    page = operator.get(AGENT)
    text = text_of(page)
    assert "Lookup server Recreate… LMCacheLookupServer" in text
    assert "LocalCPUBackend 1,200 536870912 512.0 MiB 1.0 GiB 0 —" in text
    assert "RemoteBackend 0 0 B no limit 12 open" in text
    assert "lookup seconds 0.25 stored tokens 25,600" in text
    assert KVCACHE in page.content.decode()


def test_agent__lookup_closed__says_so(viewer, make_agent, seen) -> None:
    seen(make_agent(), said={"lookup": {"client": "None", "server": "None"}})
    text = text_of(viewer.get(AGENT))
    assert "Lookup server none: it is closed" in text
    assert "Recreate" not in text


@pytest.mark.parametrize("lookup", [None, "odd", {}, {"server": 7}])
def test_agent__does_not_tell_of_its_lookup__nothing_is_shown(
    operator, make_agent, seen, lookup
) -> None:
    seen(make_agent(), said={"lookup": lookup})
    assert "Lookup server" not in text_of(operator.get(AGENT))


def test_agent__lmcache__cannot_say_what_would_come_and_has_no_button(
    operator, make_agent, seen
) -> None:
    agent = make_agent(dialect=Dialect.LMCACHE)
    seen(agent, said={"lookup": {"client": "None", "server": "LMCacheLookupServer"}})
    assert "Recreate" not in text_of(operator.get(AGENT))
    page = operator.get(RECREATE)
    assert page.status_code == 501
    assert "is an addition of KVPlane" in text_of(page)


def test_recreate__dry_run__is_shown_and_nothing_is_done(operator, scheduler, agents) -> None:
    said = {"old": CHAIN, "new": "LMCacheBypassLookupClient", "dryrun": True, "role": "scheduler"}
    answering(agents, recreate=(200, said))
    text = text_of(operator.get("/dashboard/agents/scheduler/lookup/"))
    assert "There is HitLimitLookupClient → LMCacheLookupClient" in text
    assert "There will be LMCacheBypassLookupClient" in text
    assert [request.target for request in agents.requests] == ["/lookup/recreate?dryrun=true"]
    assert not Operation.objects.exists()


def test_recreate__with_a_reason__is_an_operation_on_record(
    operator, scheduler, agents, runner
) -> None:
    said = {"old": CHAIN, "new": "LMCacheLookupClient", "role": "scheduler"}
    answering(agents, recreate=(200, said))
    form = {"reason": "ratio changed", "key": KEY}
    answer = operator.post("/dashboard/agents/scheduler/lookup/", form)
    operation = runner.wait_for(answer["Location"].split("/")[-2], 10)
    assert (operation.action, operation.state) == ("lookup.recreate", State.SUCCEEDED)
    assert (operation.actor_name, operation.reason) == ("operator", "ratio changed")
    assert [request.target for request in agents.requests] == ["/lookup/recreate"]


def test_recreate__no_reason__is_asked_for_with_the_dry_run_again(
    operator, scheduler, agents
) -> None:
    answering(agents, recreate=(200, {"old": CHAIN, "new": CHAIN, "role": "scheduler"}))
    page = operator.post("/dashboard/agents/scheduler/lookup/", {"reason": "", "key": KEY})
    assert page.status_code == 400
    assert "Say why" in text_of(page)
    assert [request.target for request in agents.requests] == ["/lookup/recreate?dryrun=true"]
    assert not Operation.objects.exists()
    (entry,) = AuditEntry.objects.filter(action="request.fail")
    assert (entry.agent, entry.actor_name, entry.status) == ("scheduler", "operator", 400)


def test_recreate__agent_could_not__says_its_remedy_and_has_no_button(
    operator, scheduler, agents
) -> None:
    refusal = {"error": "Lookup unavailable", "message": "set 'remote_url' first"}
    answering(agents, recreate=(400, refusal))
    page = operator.get("/dashboard/agents/scheduler/lookup/")
    assert page.status_code == 400
    assert "set &#x27;remote_url&#x27; first" in text_of(page)
    assert "Recreate: 1 agent" not in text_of(page)


def test_recreate__viewer__is_sent_back_and_may_not(viewer, scheduler, agents) -> None:
    url = "/dashboard/agents/scheduler/lookup/"
    assert viewer.get(url)["Location"] == "/dashboard/agents/scheduler/"
    assert viewer.post(url, {"reason": "x", "key": KEY}).status_code == 403
    assert not agents.requests


def test_kvcache__opened__layers_that_are_alike_are_one_row(viewer, make_agent, agents) -> None:
    make_agent()
    answering(agents, info=(200, LAYOUT))
    text = text_of(viewer.get(KVCACHE))
    assert "layer_0 to layer_1 2 [2, 16, 16, 2, 64] torch.bfloat16 cuda:0" in text
    assert "layer_2 1 [2, 16, 16, 2, 64] torch.float16 cuda:0" in text
    assert [request.target for request in agents.requests] == ["/cache/kvcache/info"]


@pytest.mark.parametrize(
    ("query", "sums", "shown"),
    [
        ({}, ["a" * 32, "b" * 32], f"all 1 {'a' * 32} all 2 {'b' * 32}"),
        ({"layerwise": "true"}, {"layer_0": ["c" * 32]}, f"layer_0 1 {'c' * 32}"),
    ],
)
def test_kvcache__checksums__of_what_the_form_asks_for(
    viewer, make_agent, agents, query, sums, shown
) -> None:
    make_agent()
    answering(agents, info=(200, LAYOUT), check=(200, {"num_chunks": 2, "chunk_checksums": sums}))
    asked = {"slot_mapping": "1,[4,6]", "chunk_size": "2", **query}
    page = viewer.get(KVCACHE, asked)
    assert shown in text_of(page)
    assert 'value="1,[4,6]"' in page.content.decode()
    sent = agents.requests[0].target
    assert sent.startswith("/cache/kvcache/check?slot_mapping=1%2C%5B4%2C6%5D&chunk_size=2")
    assert ("layerwise=true" in sent) == bool(query)


def test_kvcache__more_checksums_than_fit__says_how_many(viewer, make_agent, agents) -> None:
    make_agent()
    sums = {"num_chunks": 502, "chunk_checksums": ["a" * 32] * 502}
    answering(agents, info=(200, LAYOUT), check=(200, sums))
    text = text_of(viewer.get(KVCACHE, {"slot_mapping": "[0,501]", "chunk_size": "1"}))
    assert "2 further checksums are not shown" in text
    assert f"all 500 {'a' * 32}" in text
    assert "all 501" not in text


@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ({"slot_mapping": "", "chunk_size": "2"}, "&#x27;slot_mapping&#x27; is required"),
        ({"slot_mapping": "1,x", "chunk_size": "2"}, "&#x27;x&#x27; is neither a slot number"),
        ({"slot_mapping": "1", "chunk_size": "0"}, "&#x27;chunk_size&#x27; must be at least 1"),
    ],
)
def test_kvcache__form_is_wrong__says_why_and_asks_nothing_of_the_kind(
    viewer, make_agent, agents, query, remedy
) -> None:
    make_agent()
    answering(agents, info=(200, LAYOUT))
    page = viewer.get(KVCACHE, query)
    assert page.status_code == 400
    assert remedy in text_of(page)
    assert [request.target for request in agents.requests] == ["/cache/kvcache/info"]


def test_kvcache__slot_that_does_not_exist__agents_own_words(viewer, make_agent, agents) -> None:
    make_agent()
    why = "'slot_mapping': slot 4096 is out of bounds; the KV cache has slots 0 to 4095."
    refusal = {"error": "Invalid parameter", "message": why}
    answering(agents, info=(200, LAYOUT), check=(400, refusal))
    page = viewer.get(KVCACHE, {"slot_mapping": "4096", "chunk_size": "2"})
    assert page.status_code == 400
    assert "the KV cache has slots 0 to 4095." in text_of(page)


def test_kvcache__agent_is_silent__says_what_to_check(viewer, make_agent, agents) -> None:
    make_agent()
    agents.respond = silent
    page = viewer.get(KVCACHE, {"slot_mapping": "1", "chunk_size": "2"})
    assert page.status_code == 502
    assert "Check that it runs and that its registered URL is right." in text_of(page)


@pytest.mark.parametrize("document", [[], {"status": "success"}, {"layers": "many"}])
def test_kvcache__answer_that_is_none__says_so(viewer, make_agent, agents, document) -> None:
    make_agent()
    answering(agents, info=(200, document))
    page = viewer.get(KVCACHE)
    assert page.status_code == 502
    assert "gave no usable answer" in text_of(page)


@pytest.mark.parametrize("sums", [None, "many", [], {"layer_0": 7}])
def test_kvcache__checksums_that_are_none__says_so(viewer, make_agent, agents, sums) -> None:
    make_agent()
    answering(agents, info=(200, LAYOUT), check=(200, {"num_chunks": 1, "chunk_checksums": sums}))
    page = viewer.get(KVCACHE, {"slot_mapping": "1", "chunk_size": "2"})
    assert page.status_code == 502
    assert "it names no &#x27;chunk_checksums&#x27;" in text_of(page)


def test_kvcache__scheduler__404_with_the_remedy(viewer, scheduler, agents) -> None:
    page = viewer.get("/dashboard/agents/scheduler/kvcache/")
    assert page.status_code == 404
    assert "choose a worker" in text_of(page)
    assert not agents.requests


@pytest.mark.parametrize("path", [KVCACHE, RECREATE])
def test_asking__nobody_logged_in__goes_to_the_login(make_agent, agents, path) -> None:
    make_agent()
    assert Client().get(path).status_code == 302
    assert not agents.requests


@pytest.mark.parametrize("path", [KVCACHE, RECREATE])
def test_asking__unknown_agent__404_page(operator, path) -> None:
    page = operator.get(path.replace("worker-0", "nobody"))
    assert page.status_code == 404
    assert "nobody" in text_of(page)


def test_asking__policy_wants_reads__they_are_on_record_with_the_answer(
    viewer, make_agent, agents, settings
) -> None:
    settings.KVPLANE_AUDIT_READS = {"cache": ReadPolicy.FULL}
    make_agent()
    answering(agents, info=(200, LAYOUT))
    viewer.get(KVCACHE)
    (entry,) = AuditEntry.objects.filter(action="request.read")
    assert (entry.agent, entry.actor_name) == ("worker-0", "viewer")
    assert "torch.bfloat16" in json.dumps(entry.answer)
