"""Where a question about selected agents came from."""

from collections.abc import Sequence

from django.http import HttpRequest, QueryDict
from django.urls import reverse

from controlplane.dashboard.selections import recall


def way_back(request: HttpRequest, agents: Sequence[str]) -> dict[str, str]:
    """The page of the one agent, or the fleet with what was filtered and selected there:
    `origin` and `back`, its title and address, and `selection`, "" for none."""
    fields = request.POST if request.method == "POST" else request.GET
    name = fields.get("selection", "")
    if not name and len(agents) == 1:
        [agent] = agents
        return {
            "selection": "",
            "origin": agent,
            "back": reverse("dashboard:agent", args=[agent]),
        }
    query = QueryDict(recall(request.session, name).filters, mutable=True)
    if name:
        query["selection"] = name
    back = f"{reverse('dashboard:fleet')}?{query.urlencode()}".removesuffix("?")
    return {"selection": name, "origin": "Fleet", "back": back}
