"""The control loop in the admin: to read, and to be told what to do."""

from django.contrib import admin
from django.utils.safestring import SafeString

from controlplane.adminsite import show
from controlplane.adminsite.confirming import ConfirmingAdmin
from controlplane.adminsite.filters import exact
from controlplane.adminsite.watches import ON_WATCHES, condition_of
from controlplane.reconcile.models import Controller, Watch
from controlplane.rest.admin import ReadOnlyModelAdmin


@admin.register(Watch)
class WatchAdmin(ReadOnlyModelAdmin, ConfirmingAdmin):
    """How each agent does, and whether it is as it should be."""

    reads = "watches"
    confirmations = ON_WATCHES
    list_display = (
        "agent_link",
        "condition",
        "policy_shown",
        "polled_at",
        "missed",
        "drift_since",
        "attempts",
        "last_error",
    )
    list_display_links = ("condition",)
    list_filter = (
        "policy",
        ("drift_since", admin.EmptyFieldListFilter),
        ("gave_up_at", admin.EmptyFieldListFilter),
        exact("holder", title="controller"),
    )
    search_fields = ("agent__name",)
    search_help_text = "Part of an agent's name."
    list_select_related = ("agent",)
    readonly_fields = ("agent_link", "condition", "policy_shown", "drift_shown")
    fieldsets = (
        (None, {"fields": ("agent_link", "condition", "policy_shown", "polled_at", "missed")}),
        (
            "Drift",
            {
                "fields": (
                    *("drift_shown", "drift_since", "attempts", "next_attempt_at", "gave_up_at"),
                    "last_error",
                )
            },
        ),
        (
            "Notes of the loop",
            {
                "fields": (
                    *("boot_id", "verified_hash", "verified_revision", "modes_known"),
                    *("sampled_at", "sampled_boot_id", "holder", "held_until"),
                ),
                "classes": ("collapse",),
            },
        ),
    )

    @admin.display(description="agent", ordering="agent__name")
    def agent_link(self, watch: Watch) -> SafeString:
        """Its agent."""
        return show.agent(watch.agent.name)

    @admin.display(description="condition")
    def condition(self, watch: Watch) -> SafeString:
        """Whether it is as it should be."""
        return show.state(condition_of(watch))

    @admin.display(description="policy", ordering="policy")
    def policy_shown(self, watch: Watch) -> str:
        """What is done about drift."""
        return watch.policy or "as the setting says"

    @admin.display(description="drift")
    def drift_shown(self, watch: Watch) -> SafeString:
        """What is not as it should be."""
        return show.document(watch.drift)


@admin.register(Controller)
class ControllerAdmin(ReadOnlyModelAdmin):
    """Control loops that run."""

    reads = "controllers"
    list_display = ("name", "agents", "started_at", "seen_at", "alive_until", "cycle_ms", "held")
    search_fields = ("name",)

    @admin.display(description="watches")
    def held(self, controller: Controller) -> SafeString:
        """The watches that it holds."""
        return show.list_of("reconcile_watch", "watches", holder=controller.name)
