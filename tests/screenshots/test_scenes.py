"""Which pages the pictures are of, and which pictures the documents show."""

import re
from pathlib import Path

import pytest
from django.urls import get_resolver, resolve

from screenshots.camera import VIEWS
from screenshots.history import History
from screenshots.scenes import EMPTY, scenes_of

ROOT = Path(__file__).resolve().parent.parent.parent
OPERATION = "018f4b0e-8c1d-7c3a-9f64-2f1c7a9d5e10"
SCENES = [*EMPTY, *scenes_of(History(OPERATION, OPERATION, OPERATION, 1, 1))]
NO_PAGES = {"chain", "verify", "select", "nothing"}
_IMAGE = re.compile(r"images/([\w-]+\.webp)")


def test_scenes__every_page_of_the_dashboard__is_among_them() -> None:
    (dashboard,) = (
        entry
        for entry in get_resolver().url_patterns
        if getattr(entry, "namespace", None) == "dashboard"
    )
    pages = {pattern.name for pattern in dashboard.url_patterns} - NO_PAGES
    shown = {resolve(scene.path.partition("?")[0]).url_name for scene in SCENES}
    assert pages <= shown


def test_scenes__names__are_different() -> None:
    names = [scene.name for scene in SCENES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("document", ["README.md", "docs/dashboard.md"])
def test_documents__pictures__are_made_and_are_there(document: str) -> None:
    made = {f"{scene.name}-{view.device}-{view.scheme}.webp" for scene in SCENES for view in VIEWS}
    shown = set(_IMAGE.findall((ROOT / document).read_text("utf-8")))
    assert shown
    assert shown <= made
    assert shown <= {path.name for path in (ROOT / "docs" / "images").iterdir()}
