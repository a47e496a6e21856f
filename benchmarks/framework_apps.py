"""A hello of FastAPI, Django and Flask, as their tutorials have it; servers load them by name."""

# mypy: disable-error-code="import-untyped, misc, no-untyped-call, untyped-decorator"

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from fastapi import FastAPI
from flask import Flask

fastapi_hello = FastAPI(openapi_url=None)


@fastapi_hello.get("/")
async def hello_of_fastapi() -> dict[str, str]:
    return {"message": "Hello, world!"}


flask_hello = Flask(__name__)


@flask_hello.get("/")
def hello_of_flask() -> str:
    return "Hello, world!"


def hello_of_django(request: HttpRequest) -> HttpResponse:
    """Synchronous, as most views are: it runs in a thread."""
    return HttpResponse("Hello, world!", content_type="text/plain")


urlpatterns = [path("", hello_of_django)]

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a benchmark")
django.setup()
django_hello = get_asgi_application()
