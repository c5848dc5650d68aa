"""Which pages there are to see."""

from playwright.sync_api import Page, expect

from screenshots.camera import Scene
from screenshots.history import History

DASHBOARD = "/dashboard"
_WORKER, _GONE, _STRANGER, _SCHEDULER = (
    f"{DASHBOARD}/agents/{name}"
    for name in ("chat-worker-0", "code-worker-1", "rerank-worker-0", "chat-scheduler")
)

EMPTY = [
    Scene("fleet-empty", f"{DASHBOARD}/"),
    Scene("operations-empty", f"{DASHBOARD}/operations/"),
    Scene("revisions-empty", f"{DASHBOARD}/revisions/"),
    Scene("statistics-empty", f"{DASHBOARD}/statistics/"),
]
"""Of a control plane to which no agent came yet."""


def scenes_of(history: History) -> list[Scene]:
    """Every page, once something has happened."""
    # What was counted last is at the end of its chart.
    counted = Scene("statistics", f"{DASHBOARD}/statistics/?of=engine%2Fchat&last=900")
    return [
        counted,
        *_fleet(),
        *_agents(),
        *_operations(history),
        *_records(history),
        *_other_doors(),
    ]


def _fleet() -> list[Scene]:
    both = "agent=chat-worker-0&agent=chat-worker-1&agent=chat-scheduler&agent=code-worker-1"
    return [
        Scene("fleet", f"{DASHBOARD}/"),
        Scene("fleet-selection", f"{DASHBOARD}/", _select),
        Scene("fleet-nobody", f"{DASHBOARD}/?q=nobody"),
        Scene("confirm", f"{DASHBOARD}/fleet/confirm/?action=freeze.enable&{both}"),
        Scene("confirm-bypass", f"{DASHBOARD}/fleet/confirm/?action=bypass.add&{both}"),
        Scene(
            "fleet-settings",
            f"{DASHBOARD}/fleet/settings/?{both}&setting=min_retrieve_tokens&value=128",
        ),
        Scene("error", f"{DASHBOARD}/agents/nobody/", status=404),
    ]


def _agents() -> list[Scene]:
    return [
        Scene("agent-worker", f"{_WORKER}/"),
        Scene("agent-charts", f"{_WORKER}/charts/?last=900"),
        Scene("agent-drifting", f"{DASHBOARD}/agents/chat-worker-1/"),
        Scene("agent-scheduler", f"{_SCHEDULER}/"),
        Scene("agent-offline", f"{_GONE}/"),
        Scene("agent-never-seen", f"{_STRANGER}/"),
        Scene("edit", f"{_WORKER}/edit/"),
        Scene("edit-error", f"{_WORKER}/edit/", _send_what_is_wrong, status=400),
        Scene("kvcache", f"{_WORKER}/kvcache/", _ask_for_checksums),
        Scene("kvcache-offline", f"{_GONE}/kvcache/", status=502),
        Scene("recreate", f"{_SCHEDULER}/lookup/"),
    ]


def _operations(history: History) -> list[Scene]:
    failed = f"{DASHBOARD}/operations/{history.partly_failed}"
    return [
        Scene("operations", f"{DASHBOARD}/operations/"),
        Scene("operation", f"{DASHBOARD}/operations/{history.release}/"),
        Scene("operation-running", f"{DASHBOARD}/operations/{history.running}/"),
        Scene("operation-failures", f"{failed}/"),
        Scene("retry", f"{failed}/retry"),
        Scene("cancel", f"{DASHBOARD}/operations/{history.running}/cancel"),
        Scene("rollback", f"{DASHBOARD}/operations/{history.release}/rollback/"),
    ]


def _records(history: History) -> list[Scene]:
    revision = f"{DASHBOARD}/revisions/{history.revision}"
    return [
        Scene("revisions", f"{DASHBOARD}/revisions/"),
        Scene("revision", f"{revision}/"),
        Scene("restore", f"{revision}/restore/"),
        Scene("audit", f"{DASHBOARD}/audit/", _verify),
        Scene("audit-panel", f"{DASHBOARD}/audit/?action=conf.update", _open_an_entry),
        Scene("entry", f"{DASHBOARD}/audit/{history.entry}/"),
    ]


def _other_doors() -> list[Scene]:
    return [
        Scene("admin", "/admin/"),
        Scene("admin-agents", "/admin/fleet/agent/"),
        Scene("admin-entry", "/admin/audit/auditentry/", _open_the_newest_entry),
        Scene("api", "/api/v1/"),
        Scene("api-form", "/agents/chat-worker-0/conf"),
    ]


def _select(page: Page) -> None:
    page.get_by_label("Select chat-worker-0").check()
    page.get_by_label("Select code-worker-0").check()
    expect(page.locator("#selected")).to_have_text("2 selected")


def _send_what_is_wrong(page: Page) -> None:
    page.get_by_label("blocking_timeout_secs").fill("-1")
    page.get_by_label("hit_miss_ratio").fill("half")
    page.get_by_label("Reason").fill("a faster store")
    page.get_by_role("button", name="Change chat-worker-0").click()
    expect(page.get_by_role("alert").first).to_be_visible()


def _ask_for_checksums(page: Page) -> None:
    page.get_by_label("Slots", exact=True).fill("[0,1023]")
    page.get_by_label("Slots in one checksum").fill("256")
    page.get_by_role("button", name="Ask chat-worker-0").click()
    expect(page.locator("table").last.locator("tbody tr")).to_have_count(4)


def _verify(page: Page) -> None:
    page.get_by_role("button", name="Verify now").click()
    expect(page.locator("#chain")).to_contain_text("valid")


def _open_an_entry(page: Page) -> None:
    page.locator("#entries tbody th a").first.click()
    expect(page.locator("#entry-panel")).to_contain_text("What changed")


def _open_the_newest_entry(page: Page) -> None:
    page.locator("#result_list tbody th a").first.click()
    expect(page.get_by_text("Place in the chain")).to_be_visible()
