"""A proxy in front of a server, which loses what it is told to lose."""

import asyncio
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Make one with ``proxy(port)``; ``port`` is its own."""

    def __init__(self, target):
        self.target = target
        self.port = 0
        self.loses_answers = False
        self.wires = set()

    async def serve(self, reader, writer):
        onward = await asyncio.open_connection("127.0.0.1", self.target)
        self.wires |= {writer, onward[1]}
        with suppress(ConnectionError):
            await asyncio.gather(self.pass_on(reader, onward[1]), self.pass_on(onward[0], writer, is_answer=True))
        for wire in (writer, onward[1]):
            wire.close()

    async def pass_on(self, reader, writer, *, is_answer=False):
        while (data := await reader.read(65_536)) and not (is_answer and self.loses_answers):
            writer.write(data)
            await writer.drain()
        writer.close()

    def cut(self):
        """End every connection at once."""
        for wire in self.wires:
            wire.transport.abort()
        self.wires.clear()


@asynccontextmanager
async def proxy(target):
    made = Proxy(target)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
        await asyncio.sleep(0.05)
