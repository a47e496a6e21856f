"""What the chat remembers."""

from typing import Any, ClassVar

from django.db import models


class Message(models.Model):
    """A line that somebody said in a room."""

    room = models.SlugField()
    name = models.CharField(max_length=30)
    text = models.CharField(max_length=500)
    said_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """In the order in which the lines were said."""

        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        """Show who said what."""
        return f"{self.name}: {self.text}"

    def as_json(self) -> dict[str, Any]:
        """What a page needs to show it."""
        return {"id": self.pk, "name": self.name, "text": self.text, "at": self.said_at.isoformat()}
