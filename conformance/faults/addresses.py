"""Where the URL of a server leads, and how to make it lead elsewhere."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["address_of", "at_address"]

_ADDRESS = re.compile(r"(?:\[(?P<literal>[^]]+)\]|(?P<name>[^][:,@]+)):(?P<port>[0-9]+)")
"""HOST:PORT of one host, whose IPv6 address is in brackets (RFC 3986, section 3.2)."""

_LARGEST_PORT = 65_535


def address_of(url: str) -> tuple[str, int] | None:
    """Return the host and port that a URL names.

    :returns: None where it does not name exactly one of both: it leads to no server, to
        several, or to a port that only the driver knows
    """
    found = _ADDRESS.fullmatch(urlsplit(url).netloc.rpartition("@")[2])
    if found is None or not 0 < int(found["port"]) <= _LARGEST_PORT:
        return None
    return found["literal"] or found["name"], int(found["port"])


def at_address(url: str, host: str, port: int) -> str:
    """Return the URL with another host and port, and all else as it was."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    shown = f"[{host}]" if ":" in host else host
    # Replaced in the text: to put the parts together anew would drop what is empty.
    begin = url.index("//") + 2
    return f"{url[:begin]}{user}{at}{shown}:{port}{url[begin + len(parts.netloc) :]}"
