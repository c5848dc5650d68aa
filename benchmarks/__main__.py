"""`python -m benchmarks [NAME …]`: all benchmarks, or those named."""

import sys
from collections.abc import Callable, Iterator

from benchmarks import (
    audit_log,
    change,
    checksum,
    dashboard_fleet,
    device_transfer,
    disk,
    fleet_operation,
    hashing,
    lookup,
    polling,
    read,
    responsiveness,
    scheduler_lookup,
    transfer,
    vllm_agent,
    vllm_reuse,
)
from benchmarks.report import Result, show

BENCHMARKS: dict[str, Callable[[], Iterator[Result]]] = {
    "read": read.measure,
    "fleet_operation": fleet_operation.measure,
    "polling": polling.measure,
    "dashboard_fleet": dashboard_fleet.measure,
    "change": change.measure,
    "audit_log": audit_log.measure,
    "hashing": hashing.measure,
    "checksum": checksum.measure,
    "transfer": transfer.measure,
    "device_transfer": device_transfer.measure,
    "disk": disk.measure,
    "lookup": lookup.measure,
    "scheduler_lookup": scheduler_lookup.measure,
    "responsiveness": responsiveness.measure,
    "vllm_reuse": vllm_reuse.measure,
    "vllm_agent": vllm_agent.measure,
}


def main(names: list[str]) -> int:
    """Run and print; exit code 1 if a mark was missed, 2 for an unknown name."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    reached = [show(name, BENCHMARKS[name]) for name in names or BENCHMARKS]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
