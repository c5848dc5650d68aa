"""Whether this process answers."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Alive, and nothing else: no login, no database, no secret."""
    return JsonResponse({"status": "ok"})
