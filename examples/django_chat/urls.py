"""Which page, and which consumer, is where."""

from django.urls import path

from examples.django_chat import views
from examples.django_chat.consumers import ChatConsumer

urlpatterns = [
    path("", views.lobby, name="lobby"),
    path("<slug:room>/", views.room, name="room"),
]
websocket_urlpatterns = [path("ws/<slug:room>/", ChatConsumer.as_asgi())]
