"""Whether the hub of models can be reached, found out within seconds: its client asks again and again, and says so late."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

SECONDS = 4.0
PORTS = {"https": 443, "http": 80}
Connect = Callable[[str, int], None]


class Unreachable(OSError):
    """Nobody answers at the hub's address."""


def reach(*, seconds: float = SECONDS, connect: Connect | None = None) -> None:
    """Return where the hub, or the proxy that leads to it, answers. Nothing is asked where the client was told to stay offline.

    Args:
        seconds: how long it is waited, looking up the name included.
        connect: opens and closes a connection to a host and port.

    Raises:
        Unreachable: it does not answer, or not in time.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE") == "1":
        return
    host, port = _address(str(constants.ENDPOINT))
    found: list[BaseException | None] = []

    def trying() -> None:
        try:
            (connect or _connect)(host, port)
            found.append(None)
        except OSError as error:
            found.append(error)

    thread = Thread(target=trying, daemon=True)  # looking up a name knows no timeout
    thread.start()
    thread.join(seconds)
    if not found:
        raise Unreachable(f"{host} does not answer within {seconds:g} s")
    if found[0] is not None:
        raise Unreachable(f"{host} cannot be reached: {found[0]}")


def _address(endpoint: str) -> tuple[str, int]:
    """Host and port to be connected to: of the proxy, where one stands before ``endpoint``."""
    asked = urlsplit(endpoint)
    proxies = getproxies()
    proxy = proxies.get(asked.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(asked.hostname or ""):
        asked = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return asked.hostname or "", asked.port or PORTS.get(asked.scheme, 443)


def _connect(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=SECONDS).close()
