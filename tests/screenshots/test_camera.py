"""Pictures of one page of each kind, and of none that is not as it should be."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from screenshots.camera import VIEWS, Scene, WentWrong, camera
from screenshots.stage import ADMIN, Stage, open_stage
from tests.support.chromium import browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("stage")) as opened:
        yield opened


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as started:
        yield started


def fail(page: Page) -> None:
    page.evaluate("console.error('a script failed')")


def widen(page: Page) -> None:
    page.evaluate("document.body.style.width = '3000px'")


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.device}-{view.scheme}")
def test_take__one_page_of_each_kind__is_a_picture_of_that_width(
    chrome: Browser, stage: Stage, tmp_path: Path, view
) -> None:
    scenes = [
        Scene("fleet", "/dashboard/"),
        Scene("error", "/dashboard/agents/nobody/", status=404),
        Scene("admin", "/admin/"),
        Scene("api", "/api/v1/"),
    ]
    with camera(chrome, stage.url, view) as one:
        one.log_in(ADMIN)
        for scene in scenes:
            path = one.take(scene, tmp_path)
            assert path.name == f"{scene.name}-{view.device}-{view.scheme}.webp"
            with Image.open(path) as image:
                assert (image.format, image.width) == ("WEBP", view.width)
                assert view.height <= image.height <= 2000
                # More than an empty sheet.
                assert len(image.convert("RGB").getcolors(1 << 20)) > 8


@pytest.mark.parametrize(
    ("scene", "problem"),
    [
        (Scene("missing", "/dashboard/agents/nobody/"), "answered 404"),
        (Scene("failing", "/dashboard/", fail), "a script failed"),
        (Scene("wide", "/dashboard/", widen), "pixels too wide"),
    ],
    ids=lambda value: value.name if isinstance(value, Scene) else "",
)
def test_take__something_is_wrong__is_told_and_no_picture(
    chrome: Browser, stage: Stage, tmp_path: Path, scene: Scene, problem: str
) -> None:
    with camera(chrome, stage.url, VIEWS[0]) as one:
        one.log_in(ADMIN)
        with pytest.raises(WentWrong, match=problem):
            one.take(scene, tmp_path)
        assert list(tmp_path.iterdir()) == []
        one.take(Scene("fleet", "/dashboard/"), tmp_path)
