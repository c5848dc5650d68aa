"""A state machine over revisions: changes that are taken, refused, taken in part or
lost, rollbacks, imports, and writers that overlap. There is never more than one
active revision, none is lost, and none changes once it is settled."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.forms.models import model_to_dict
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.authorship import Authorship
from controlplane.configuration import services
from controlplane.configuration.errors import ChangeInProgress, RevisionConflict
from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.configuration.services import Observed, Proposal

KEYS = ("a", "b", "c", "api_key")
VALUES = st.one_of(st.integers(0, 3), st.booleans(), st.none(), st.text("xy", max_size=2))
CHANGES = st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1)
SETTLED = (RevisionState.ACTIVE, RevisionState.SUPERSEDED, RevisionState.FAILED)
BY = Authorship(Actor(ActorKind.USER, "ada", "user:1"), "because", "req", None)
AGENT = "machine"


class RevisionMachine(RuleBasedStateMachine):
    """The model: the values that should be active, and what is on its way."""

    sent = Bundle("sent")

    def __init__(self):
        super().__init__()
        ConfigRevision.objects.all().delete()
        self.active: dict[str, object] | None = None
        self.pending: ConfigRevision | None = None
        self.made = 0
        self.frozen: dict[int, dict] = {}

    def propose(self, changes, **options):
        with transaction.atomic():
            return services.propose(
                AGENT, Proposal(changes, timezone.now() + timedelta(hours=1), **options), BY
            )

    @initialize(values=st.fixed_dictionaries(dict.fromkeys(KEYS, VALUES)))
    def begin(self, values):
        self.import_values(values)

    @rule(values=st.fixed_dictionaries(dict.fromkeys(KEYS, VALUES)))
    def import_values(self, values):
        source = Source.IMPORT if self.active is None else Source.ADOPT
        observed = Observed(values, {})
        if self.pending is not None:
            with pytest.raises(ChangeInProgress), transaction.atomic():
                services.import_observed(AGENT, observed, source, BY)
            return
        with transaction.atomic():
            services.import_observed(AGENT, observed, source, BY)
        self.active, self.made = dict(values), self.made + 1

    @rule(target=sent, changes=CHANGES)
    def send(self, changes):
        if self.pending is not None:
            with pytest.raises(ChangeInProgress):
                self.propose(changes)
            return None
        self.pending = self.propose(changes)
        self.made += 1
        return (self.pending, changes)

    @rule(changes=CHANGES, behind=st.integers(1, 3))
    def send_stale(self, changes, behind):
        if self.pending is not None:
            return
        active = services.find_active(AGENT)
        with pytest.raises(RevisionConflict) as refused:
            self.propose(changes, expected=max(0, active.number - behind))
        assert refused.value.extra["active"] == active.number

    @rule(target=sent, changes=CHANGES)
    def send_knowing_the_latest(self, changes):
        if self.pending is not None:
            return None
        active = services.find_active(AGENT)
        self.pending = self.propose(changes, expected=active.number)
        self.made += 1
        return (self.pending, changes)

    @rule(item=consumes(sent), taken=st.sets(st.sampled_from(KEYS)))
    def answer(self, item, taken):
        """The agent took those of the keys that were asked for, or none."""
        if item is None:
            return
        revision, changes = item
        updated = {key: value for key, value in changes.items() if key in taken}
        refused = {key: "no" for key in changes if key not in taken}
        overtaken = (
            ConfigRevision.objects.filter(number__gt=revision.number)
            .exclude(state=RevisionState.FAILED)
            .exists()
        )
        with transaction.atomic():
            if updated:
                services.accept(revision, updated, refused)
            else:
                services.refuse(revision, refused)
        if updated and not overtaken:
            self.active = {**self.active, **updated}
        if self.pending is not None and self.pending.pk == revision.pk:
            self.pending = None

    @rule(item=consumes(sent))
    def answer_twice(self, item):
        if item is None:
            return
        revision, changes = item
        for _ in range(2):
            with transaction.atomic():
                services.refuse(revision, {"*": "no"})
        with transaction.atomic():
            services.accept(revision, changes, {})
        if self.pending is not None and self.pending.pk == revision.pk:
            self.pending = None

    @rule(target=sent, item=consumes(sent))
    def lose(self, item):
        """No answer came in time; it may still turn up."""
        if item is None:
            return None
        revision, changes = item
        with transaction.atomic():
            services.lose_sight(revision)
        if self.pending is not None and self.pending.pk == revision.pk:
            self.pending = None
        return (revision, changes)

    @rule(data=st.data())
    def roll_back(self, data):
        if self.pending is not None:
            return
        was_active = list(
            ConfigRevision.objects.filter(
                state__in=(RevisionState.ACTIVE, RevisionState.SUPERSEDED)
            ).order_by("number")
        )
        target = data.draw(st.sampled_from(was_active))
        values = services.real_values(target)
        revision = self.propose(values, source=Source.ROLLBACK, restored_from=target.number)
        with transaction.atomic():
            services.accept(revision, values, {})
        self.made += 1
        self.active = {**self.active, **values}

    @invariant()
    def one_is_active_and_has_the_values(self):
        if self.active is None:
            return
        (active,) = ConfigRevision.objects.filter(state=RevisionState.ACTIVE)
        assert services.real_values(active) == self.active
        assert active.values["api_key"] in (None, "", "***")

    @invariant()
    def none_is_lost_and_numbers_count_up(self):
        numbers = list(ConfigRevision.objects.order_by("id").values_list("number", flat=True))
        assert numbers == list(range(1, self.made + 1))

    @invariant()
    def settled_ones_stay_as_they_are(self):
        for revision in ConfigRevision.objects.filter(state__in=SETTLED):
            content = model_to_dict(revision, exclude=["state"])
            failed = revision.state == RevisionState.FAILED
            content["failed"] = failed
            assert self.frozen.setdefault(revision.number, content) == content

    @invariant()
    def at_most_one_is_pending(self):
        pending = ConfigRevision.objects.filter(state=RevisionState.PENDING)
        assert [row.pk for row in pending] == ([self.pending.pk] if self.pending else [])


@pytest.mark.slow
class TestRevisions(TestCase):
    def test_revisions__any_history__one_active_and_none_lost(self):
        run_state_machine_as_test(
            RevisionMachine,
            settings=settings(
                max_examples=60,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
