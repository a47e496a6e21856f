import asyncio

from gateway_layer.channels.mailbox import Mailbox, Unread, now_ms


class Owned(Mailbox):
    """As that of connections, which gives messages away instead of keeping them."""

    def __init__(self) -> None:
        super().__init__(lambda _channel: 1)
        self.given: list[str] = []

    def _give(self, channel: str, message: Unread) -> bool:
        self.given.append(channel)
        return True


async def test_group_goes_by_give_where_nobody_waits() -> None:
    mailbox = Owned()
    mailbox.join("g", "a!b.1")
    mailbox.join("g", "a!b.2")
    with mailbox.lock:
        assert mailbox.deliver_to_group("g", (now_ms() + 60_000, b""), ["a!b.2"])
    assert mailbox.given == ["a!b.1"]


async def test_expired_message_is_not_given_to_who_waits() -> None:
    mailbox = Mailbox(lambda _channel: 1)
    channels = [mailbox.new_channel("a") for _ in range(3)]
    waiters = [mailbox.take(channel, asyncio.get_running_loop()) for channel in channels]
    for channel in channels:
        mailbox.join("g", channel)
    with mailbox.lock:
        assert mailbox.deliver(channels[0], (now_ms(), b"late"))
        assert mailbox.deliver_to_group("g", (now_ms(), b"late"), [channels[0]])
        assert mailbox.expired == 3
        assert mailbox.deliver_to_group("g", (now_ms() + 60_000, b"in time"), ())
    for waiter in waiters:
        assert isinstance(waiter, asyncio.Future)
        assert (await waiter)[1] == b"in time"
