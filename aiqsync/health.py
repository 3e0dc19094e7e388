"""Is this process alive, and is the whole installation ready? Plain views: a load balancer asks them every second."""

from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.utils import timezone

from integrations.models import Heartbeat


def alive(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"alive": True})


def ready(request: HttpRequest) -> JsonResponse:
    """200 when the database answers, else 503; beside it the age of the newest worker heartbeat, in seconds."""
    try:
        beat = Heartbeat.objects.order_by("-at").first()
    except DatabaseError:
        return JsonResponse({"ready": False, "why": "The database does not answer."}, status=503)
    age = round((timezone.now() - beat.at).total_seconds()) if beat else None
    return JsonResponse({"ready": True, "worker_heartbeat_age_s": age})
