"""A recorded change through the control plane against its parts: the agent
called directly, and the two commits that put it on record."""

import os
import time
from collections.abc import Callable, Iterator
from statistics import median

from benchmarks.load import generate
from benchmarks.report import Result
from benchmarks.stack import AGENT, Stack, full_stack

ROUNDS = 7
CHANGES = 150
PATHS = ("/freeze/enable", "/freeze/disable")


def measure() -> Iterator[Result]:
    """All parts in turn, round by round."""
    with full_stack() as stack:
        commits = _commits_of_a_change(stack)
        rounds: list[tuple[float, float, float]] = []
        for number in range(ROUNDS + 1):
            path = PATHS[number % 2]
            ours = generate(
                f"{stack.controlplane_url}/agents/{AGENT}{path}", stack.headers, CHANGES, 1, "PUT"
            ).p50
            direct = generate(
                f"{stack.agent_url}{path}", stack.agent_headers, CHANGES, 1, "PUT"
            ).p50
            rounds.append((ours, direct, _p50(commits, CHANGES)))
        del rounds[0]
        ours, direct, written = (median(column) * 1000 for column in zip(*rounds, strict=True))
        print(
            f"  change {ours:.2f} ms = agent called directly {direct:.2f} ms "
            f"+ two commits {written:.2f} ms + {ours - direct - written:.2f} ms"
        )
        yield Result(
            "recorded change / (agent called directly + the two commits), p50",
            median(a / (b + c) for a, b, c in rounds),
            1.5,
            higher_is_better=False,
        )


def _p50(action: Callable[[], None], times: int) -> float:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def _commits_of_a_change(stack: Stack) -> Callable[[], None]:
    """The two transactions of a change with the rows that it writes, and
    nothing around them."""
    os.environ["KVPLANE_DATA_DIR"] = str(stack.data_directory)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    import django

    django.setup()

    from django.db import transaction
    from django.utils import timezone

    from controlplane.audit.actors import Actor, ActorKind
    from controlplane.audit.models import Stage
    from controlplane.audit.services import record
    from controlplane.modes.models import (
        DesiredMode,
        Mode,
        ModeChange,
        ModeChangeState,
        ModeSource,
    )
    from controlplane.operations.models import Operation, OperationTarget, State

    actor = Actor(ActorKind.TOKEN, "bench/test", "token:1", "127.0.0.1")
    answer = {"status": "success", "freeze": True, "message": "Freeze mode enabled successfully"}

    def entry(operation: Operation, stage: Stage, **more: object) -> None:
        record(
            stage=stage,
            action="freeze.enable",
            actor=actor,
            request_id="benchmark",
            operation_id=operation.pk,
            agent=AGENT,
            **more,  # type: ignore[arg-type]
        )

    first = ModeChange.objects.create(
        agent="benchmark",
        mode=Mode.FREEZE,
        to_value=True,
        state=ModeChangeState.APPLIED,
        source=ModeSource.IMPORT,
        created_at=timezone.now(),
    )
    DesiredMode.objects.create(
        agent="benchmark", mode=Mode.FREEZE, value=True, since=timezone.now(), change=first
    )

    def commits() -> None:
        operation = Operation(
            action="freeze.enable",
            endpoint="enable_freeze",
            actor_kind=actor.kind,
            actor_name=actor.name,
            actor_ref=actor.ref,
            source_address=actor.source_address,
            request_id="benchmark",
            state=State.RUNNING,
            created_at=timezone.now(),
        )
        target = OperationTarget(operation=operation, agent=AGENT, state=State.RUNNING)
        change = ModeChange(
            agent="benchmark",
            mode=Mode.FREEZE,
            to_value=True,
            state=ModeChangeState.PENDING,
            source=ModeSource.CHANGE,
            operation_id=operation.pk,
            request_id="benchmark",
            actor_kind=actor.kind,
            actor_name=actor.name,
            actor_ref=actor.ref,
            created_at=timezone.now(),
        )
        with transaction.atomic():
            DesiredMode.objects.filter(agent="benchmark", mode=Mode.FREEZE, backend="").first()
            change.save(force_insert=True)
            operation.save(force_insert=True)
            target.save(force_insert=True)
            entry(operation, Stage.REQUESTED, request={"method": "PUT", "agents": [AGENT]})
        with transaction.atomic():
            ModeChange.objects.filter(pk=change.pk).update(
                state=ModeChangeState.APPLIED, settled_at=timezone.now()
            )
            DesiredMode.objects.filter(agent="benchmark").update(
                value=True, since=timezone.now(), change=change
            )
            Operation.objects.filter(pk=operation.pk).update(
                state=State.SUCCEEDED, finished_at=timezone.now()
            )
            OperationTarget.objects.filter(pk=target.pk).update(
                state=State.SUCCEEDED, status=200, answer=answer, duration_ms=1.0
            )
            entry(
                operation,
                Stage.COMPLETED,
                answer=answer,
                outcome="succeeded",
                status=200,
                duration_ms=1.0,
            )

    return commits
