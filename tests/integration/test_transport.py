"""The transport against servers that do not get as far as HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modelfetch import Config, NetworkError
from modelfetch.transport import Transport


async def test_a_proxy_that_takes_a_connection_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"CONNECT cdn.test:443")
        asked.set()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    proxy = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    config = Config(cache_dir=tmp_path, connect_timeout=0.2, read_timeout=30.0)
    transport = Transport(config, None, "test")
    try:
        with pytest.raises(NetworkError, match="silent") as caught:
            await transport.head("https://cdn.test/x")
        assert caught.value.host == "cdn.test"
        assert asked.is_set()
    finally:
        await transport.close()
        await gone.wait()
        proxy.close()
