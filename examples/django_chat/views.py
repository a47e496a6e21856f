"""The two pages: a lobby in which people say who they are, and a room."""

from django import forms
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from examples.django_chat.models import Message


class Entrance(forms.Form):
    """Who comes in, and where."""

    name = forms.CharField(max_length=30)
    room = forms.SlugField(max_length=30, initial="garden")


def lobby(request: HttpRequest) -> HttpResponse:
    """Ask for a name and a room; the session keeps the name."""
    form = Entrance(request.POST or None, initial={"name": request.session.get("name", "")})
    if request.method == "POST" and form.is_valid():
        request.session["name"] = form.cleaned_data["name"]
        return redirect("room", room=form.cleaned_data["room"])
    rooms = Message.objects.order_by("room").values("room").annotate(lines=Count("id"))[:20]
    return render(request, "lobby.html", {"form": form, "rooms": rooms})


def room(request: HttpRequest, room: str) -> HttpResponse:
    """Show a room to somebody who has a name."""
    if "name" not in request.session:
        return redirect("lobby")
    return render(request, "room.html", {"room": room, "name": request.session["name"]})
