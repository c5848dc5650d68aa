"""How results are printed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One ratio that was measured, and the mark that it should reach."""

    name: str
    value: float
    mark: float
    higher_is_better: bool

    @property
    def reached(self) -> bool:
        return self.value >= self.mark if self.higher_is_better else self.value <= self.mark

    def line(self) -> str:
        relation = ">=" if self.higher_is_better else "<="
        verdict = "reached" if self.reached else "MISSED"
        return f"{self.name:<66} {self.value:8.2f}  ({relation} {self.mark:g}: {verdict})"


def show(name: str, measure: Callable[[], Iterator[Result]]) -> bool:
    """Print a benchmark's results as they come. Whether all marks were reached."""
    print(name)
    reached = True
    for result in measure():
        print(f"  {result.line()}", flush=True)
        reached = reached and result.reached
    return reached
