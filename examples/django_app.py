"""A Django site in one file: page views and events with their route, browser, device and user, once /privacy has a yes.

    gunicorn --preload --workers 4 django_app:application       prints its address; the processes are one install

It sends in the background: no visitor waits for the sink. The SDK's middleware finds the route, then ours says whose.
Consent belongs to the install: in a real site /privacy is for the administrator, behind a login and the CSRF check, and
the user comes from the session. Sink: ACME_DJANGO_TELEMETRY_ENDPOINT. Needs telemetry-sdk[web], django and gunicorn.
"""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

from telemetry_sdk import Telemetry

telemetry = Telemetry("acme-django", version="1.0.0", delivery="background")


def identify(get_response):
    """Say whose request it is, which holds for this request only."""

    def handle(request):
        return get_response(request)

    def process_view(request, *_):
        if user := request.COOKIES.get("user"):
            telemetry.identify_user(user)

    handle.process_view = process_view
    return handle


def show(_, timer_id):
    return HttpResponse(f"<p>Timer {timer_id}</p>{'<p>Ask whoever runs this</p>' if telemetry.should_ask() else ''}")


def start(request):
    telemetry.track_event("timer.started", {"minutes": int(request.POST.get("minutes", 25))})
    return HttpResponse("started", status=201, content_type="text/plain")


def decide(request):
    if request.POST.get("wish") == "on":
        telemetry.opt_in()
    else:
        telemetry.opt_out()
    return HttpResponse(f"analytics are {'on' if telemetry.is_detailed_analytics_enabled() else 'off'}")


urlpatterns = [path("timers", start), path("timers/<int:timer_id>", show), path("privacy", decide)]
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    TELEMETRY=telemetry,
    TELEMETRY_PAGE_VIEWS=True,
    MIDDLEWARE=["telemetry_sdk.web.DjangoMiddleware", f"{__name__}.identify"],
)
application = get_wsgi_application()
telemetry.start()
