from gateway_layer.channels.mailbox import Mailbox, Unread


class Owned(Mailbox):
    """As that of connections, which gives messages away instead of keeping them."""

    def __init__(self) -> None:
        super().__init__(lambda _channel: 1)
        self.given: list[str] = []

    def deliver(self, channel: str, message: Unread) -> bool:
        self.given.append(channel)
        return True


async def test_group_goes_by_deliver_where_nobody_waits() -> None:
    mailbox = Owned()
    mailbox.join("g", "a!b.1")
    mailbox.join("g", "a!b.2")
    with mailbox.lock:
        assert mailbox.deliver_to_group("g", (0, b""), ["a!b.2"])
    assert mailbox.given == ["a!b.1"]
