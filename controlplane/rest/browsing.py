"""The browsable API: pages for people who have not read the documentation."""

from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request, override_method

from controlplane.rest.described import Description
from controlplane.rest.first_look import FirstLook
from controlplane.rest.forms import CallForm, marked
from controlplane.rest.links import Link, LinkGroup, links_from
from controlplane.rest.remedies import REMEDIES, problem_of
from controlplane.rest.resource_forms import resource_forms
from controlplane.rest.tables import Table, table_of

DENIED = (401, 403)


class PageRenderer(BrowsableAPIRenderer):
    """DRF's browsable page, with a form for every method that says what can be sent, and
    with links to whatever the answer names.

    A view can have, besides what DRF asks of it: `columns` of its list, `form_fields(method)`,
    `form_examples(method)` and `related_links(document)`.
    """

    def get_context(  # type: ignore[no-untyped-def]
        self, data, accepted_media_type, renderer_context
    ) -> dict[str, Any]:
        """What the template needs. DRF's own forms are left out."""
        context: dict[str, Any] = super().get_context(data, accepted_media_type, renderer_context)
        view, request = renderer_context["view"], renderer_context["request"]
        response = renderer_context["response"]
        failed = response.status_code >= 400
        context.update(
            breadcrumblist=_trail(view, context["breadcrumblist"], context["name"]),
            extra_actions=_other_actions(context["extra_actions"], request),
            first_look=response if isinstance(response, FirstLook) else None,
            problem=problem_of(response.status_code, data) if failed else None,
            problem_links=[],
            problems={str(status): words for status, words in REMEDIES.items()},
            link_groups=[] if failed else _links_of(view, data),
            answer_about=self.about_answer(view, request, context["description"]),
            table=None if failed else _table_of(view, data),
            forms=[]
            if response.status_code in DENIED
            else self.forms_of(view, request, getattr(data, "serializer", None)),
        )
        return context

    def show_form_for_method(self, view, method, request, obj) -> bool:  # type: ignore[no-untyped-def]
        """Never: a form of DRF's knows nothing of nested values, headers or parameters."""
        return False

    def get_description(self, view, status_code) -> str:  # type: ignore[no-untyped-def]
        """What the view is for, with what it quotes as code."""
        if status_code in DENIED:
            return ""
        return marked(" ".join(view.get_view_description().split()))

    def get_filter_form(self, data, view, request) -> Any:  # type: ignore[no-untyped-def]
        """The filters of a list, also beside the complaint about one of them."""
        if getattr(view, "action", "") != "list" or data is None:
            return None
        refused = isinstance(data, Mapping) and "error" in data
        if refused and "fields" not in data:
            return None
        return super().get_filter_form([], view, request)

    def about_answer(self, view: Any, request: Request, description: str) -> str:
        """What the page shows, where its description says something else."""
        if "GET" not in view.allowed_methods:
            return ""
        with override_method(view, request, "GET"):
            about = marked(Description(view, "GET").text())
        return "" if about == description else about

    def forms_of(self, view: Any, request: Request, shown: Any) -> list[CallForm]:
        """The forms of the page; `shown` is the serializer of what it shows."""
        return resource_forms(view, request, shown)


def _links_of(view: Any, document: object) -> list[LinkGroup]:
    if not isinstance(document, Mapping):
        return []
    links: list[Link] = [] if "results" in document else links_from(document)
    groups = [LinkGroup("See also", tuple(links))] if links else []
    tell = getattr(view, "related_links", None)
    return groups if tell is None else [*groups, *tell(document)]


def _table_of(view: Any, document: object) -> Table | None:
    if not isinstance(document, Mapping) or not hasattr(view, "columns"):
        return None
    if "results" in document:
        return table_of(view, document["results"])
    return table_of(view, [document]) if getattr(view, "action", "") == "retrieve" else None


def _trail(view: Any, trail: Sequence[tuple[str, str]], own_name: str) -> list[tuple[str, str]]:
    """The trail of links, in which a path with and without its slash is one place, an object
    has its own name or number, and the page itself has the name that it shows."""
    kept: list[tuple[str, str]] = []
    for name, url in trail:
        if not kept or kept[-1][0] != name:
            kept.append((name, url))
    own = " ".join(view.kwargs.values())
    named = [
        (f"{name} {own}" if own and url.rstrip("/").endswith(f"/{own}") else name, url)
        for name, url in kept[:-1]
    ]
    return [*named, (own_name, kept[-1][1])] if kept else []


def _other_actions(actions: Mapping[str, str] | None, request: Request) -> dict[str, str]:
    here = request.build_absolute_uri(request.path).rstrip("/")
    return {name: url for name, url in (actions or {}).items() if url.rstrip("/") != here}
