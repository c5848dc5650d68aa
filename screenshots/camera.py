"""A browser that goes through scenes and takes a picture of each: on a laptop and on a
phone, in light and in dark."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.support.chromium import Troubles
from tests.support.controlplane import PASSWORD

Scheme = Literal["light", "dark"]
_EFFORT = 70
_EXACT_COLOURS = 64
_OTHER_COLOURS = 64
_MOST_PIXELS_HIGH = 2_000


class View(NamedTuple):
    """On what, in which colours; pixels."""

    device: str
    width: int
    height: int
    scheme: Scheme


VIEWS = tuple(
    View(device, width, height, scheme)
    for device, width, height in (("laptop", 1440, 900), ("phone", 390, 844))
    for scheme in ("light", "dark")
)


class WentWrong(Exception):
    """A page that is not as it should be: another status, an error of a script, a request
    that leaves the site, or more than fits its width."""


def _look(page: Page) -> None:
    """Nothing is done on the page."""


@dataclass(frozen=True)
class Scene:
    """A page, and what is done on it before it is taken."""

    name: str
    path: str
    act: Callable[[Page], None] = _look
    status: int = 200
    """That the page answers with, or what is sent from it."""


@dataclass
class Camera:
    """A window in one view, logged in as one user."""

    page: Page
    site: str
    view: View
    troubles: Troubles = field(init=False)

    def __post_init__(self) -> None:
        self.troubles = Troubles(self.site)
        self.troubles.watch(self.page)

    def log_in(self, username: str) -> None:
        """By the form, as people do."""
        self.page.goto(f"{self.site}/dashboard/")
        self.page.fill("input[name=username]", username)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("input[type=submit]")
        self.page.wait_for_url(f"{self.site}/dashboard/")

    def take(self, scene: Scene, directory: Path) -> Path:
        """The file. Raises WentWrong."""
        self.troubles.errors.clear()
        self.troubles.outside.clear()
        self.page.set_viewport_size({"width": self.view.width, "height": self.view.height})
        answer = self.page.goto(f"{self.site}{scene.path}")
        if answer is None or answer.status not in (200, scene.status):
            raise WentWrong(f"{scene.name}: {scene.path} answered {answer and answer.status}")
        self.page.wait_for_load_state("networkidle")
        scene.act(self.page)
        self.page.wait_for_load_state("networkidle")
        self._fit()
        self._check(scene)
        path = directory / f"{scene.name}-{self.view.device}-{self.view.scheme}.webp"
        path.write_bytes(_smaller(self.page.screenshot(animations="disabled")))
        return path

    def _fit(self) -> None:
        """Make the window as high as the page: what sticks to its end is then there, and
        not over the middle."""
        self.page.evaluate("scrollTo(0, 0)")
        height = self.page.evaluate("document.documentElement.scrollHeight")
        fitting = min(max(height, self.view.height), _MOST_PIXELS_HIGH)
        self.page.set_viewport_size({"width": self.view.width, "height": fitting})

    def _check(self, scene: Scene) -> None:
        expected = f"status of {scene.status} "
        wrong = [text for text in self.troubles.errors if expected not in text]
        wrong += [f"left the site: {url}" for url in self.troubles.outside]
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            wrong.append(f"{wide} pixels too wide")
        if wrong:
            raise WentWrong(f"{scene.name} on a {self.view.device}: {'; '.join(wrong)}")


@contextmanager
def camera(browser: Browser, site: str, view: View) -> Iterator[Camera]:
    """A window without a user yet, closed at the end."""
    context = browser.new_context(
        viewport={"width": view.width, "height": view.height}, color_scheme=view.scheme
    )
    try:
        yield Camera(context.new_page(), site, view)
    finally:
        context.close()


def _smaller(png: bytes) -> bytes:
    """With a palette, in a third of the bytes: the repository keeps every version."""
    with Image.open(io.BytesIO(png)) as image:
        full = image.convert("RGB")
    few = full.quantize(palette=_palette(full), dither=Image.Dither.NONE)
    written = io.BytesIO()
    few.convert("RGB").save(written, "WEBP", lossless=True, quality=_EFFORT)
    return written.getvalue()


def _palette(image: Image.Image) -> Image.Image:
    """The colours of large areas as they are, and others near to those of small dots."""
    counted = image.getcolors(image.width * image.height) or []
    frequent = [colour for _, colour in sorted(counted, reverse=True)[:_EXACT_COLOURS]]
    spread = image.quantize(_OTHER_COLOURS, method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(part for colour in frequent for part in colour), *spread])
    return palette
