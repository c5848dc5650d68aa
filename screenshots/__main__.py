"""`python -m screenshots [--into DIRECTORY] [--minutes N] [NAME …]`: pictures of every page,
or of those named."""

import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from screenshots.camera import VIEWS, Camera, Scene, WentWrong, camera
from screenshots.history import end, enrol, happen
from screenshots.scenes import EMPTY, scenes_of
from screenshots.stage import ADMIN, open_stage
from tests.support.chromium import browser

_IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
_MINUTES = 12.0


def main(arguments: Sequence[str]) -> int:
    """Take them; exit code 1 if something was wrong with a page."""
    parser = ArgumentParser(prog="python -m screenshots", description="Pictures of every page.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="Which; left out: all.")
    parser.add_argument("--into", type=Path, default=_IMAGES, help="Default: docs/images.")
    parser.add_argument(
        "--minutes", type=float, default=_MINUTES, help="How long there is traffic before."
    )
    chosen = parser.parse_args(arguments)
    chosen.into.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="kvplane-")))
        stage = opened.enter_context(open_stage(directory))
        chrome = opened.enter_context(browser())
        cameras = [opened.enter_context(camera(chrome, stage.url, view)) for view in VIEWS]
        for one in cameras:
            one.log_in(ADMIN)
        wrong = _take(cameras, EMPTY, chosen.names, chosen.into)
        people = enrol(stage)
        print(f"agents are there; {chosen.minutes:g} minutes of work", flush=True)
        history = happen(stage, people, chosen.minutes)
        wrong += _take(cameras, scenes_of(history), chosen.names, chosen.into)
        end(people, history)
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


def _take(
    cameras: Sequence[Camera], scenes: Sequence[Scene], names: Collection[str], into: Path
) -> list[str]:
    """What was wrong, while the others are taken all the same."""
    wrong = []
    for scene in scenes:
        if names and scene.name not in names:
            continue
        for one in cameras:
            try:
                path = one.take(scene, into)
            except WentWrong as error:
                wrong.append(str(error))
                continue
            print(f"{path.name}  {path.stat().st_size / 1024:.0f} KiB", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
