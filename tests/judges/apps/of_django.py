"""An app of Django, which speaks ASGI and WSGI; it has no WebSockets and no lifespan."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import django
import doings
from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    LOGGING_CONFIG=None,
)
django.setup()


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.META['REMOTE_ADDR']} {os.getpid()}")


def upload(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.read())))


def download(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"x" * doings.DOWNLOAD_BYTES)


async def stream(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(doings.pieces())


async def events(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(doings.events(), content_type="text/event-stream")


async def gone(_request: HttpRequest) -> HttpResponse:
    await doings.wait_for_the_end()
    return HttpResponse()


def stream_from_thread(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(b"%d\n" % number for number in range(100))


urlpatterns = [
    path("", page),
    path("upload", upload),
    path("download", download),
    path("stream", stream),
    path("events", events),
    path("gone", gone),
    path("wsgi/stream", stream_from_thread),
]
app: Callable[..., Any] = get_asgi_application()


def make_from_wsgi() -> WSGIMiddleware:
    """Make the adapter of its WSGI in each worker, since it begins threads."""
    return WSGIMiddleware(get_wsgi_application(), workers=10)
