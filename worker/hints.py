"""Take messages from Redis without writing down what is on its way where the ledger knows it already.

kombu emulates acknowledgement on Redis: it copies each message it takes into a hash, and deletes it again when the
task starts. A message that only hints at an admitted run needs none of that, because a run whose message is lost is
admitted again. All other messages are kept as kombu keeps them.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis, virtual

from config.queues import EXECUTE


class HintQoS(redis.QoS):
    """Counts hints like other messages, but in memory only."""

    channel: Any
    _delivered: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        if _is_hint(message):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if _is_hint(self._delivered.get(delivery_tag)):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back that was taken and not begun, such as when the worker stops."""
        message = self._delivered.get(tag)
        if not _is_hint(message):
            super().restore_by_tag(tag, client, leftmost)
            return
        where = message.delivery_info
        with self.channel.conn_or_acquire(client) as client:
            self.channel._do_restore_message(
                message._raw, where["exchange"], where["routing_key"], client, leftmost=leftmost
            )


class HintChannel(redis.Channel):
    """A channel that keeps the client with which it sends commands; kombu makes one for each command."""

    QoS = HintQoS
    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc]
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept


class HintTransport(redis.Transport):
    """Redis, with channels that know hints."""

    Channel = HintChannel

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, _Sparing(loop))


class _Sparing:
    """An event loop that is told of a reader once: kombu tells it of all at each turn, by two calls of epoll."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def add_reader(self, reader: int, callback: Any, *args: Any) -> None:
        if self._loop.readers.get(reader) != (callback, args):
            self._loop.add_reader(reader, callback, *args)


def _is_hint(message: Any) -> bool:
    return message is not None and message.headers.get("task") == EXECUTE
