"""Which addresses a stranger's URL may lead to: public ones, and those that a person asked for. It opens no connection.

Rows of a URL table and redirects are written by others: without this they would reach what listens on this machine or
beside it. A host is looked up once, and the connection goes to the address that was judged here.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # an IPv4 address in its last 32 bits; source: RFC 6052, section 2.1


class Refused(OSError):
    """A URL led to an address that nobody asked for."""


def asked_by(url: str) -> frozenset[str]:
    """Give what a person asks for who writes this URL: its host and port, if that is an address itself, or localhost.

    A name may lead anywhere: whoever means one that is not public says so (`allow_hosts` in a manifest).
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host != "localhost" and _literal(host) is None:
        return frozenset()
    return frozenset({f"{host}:{parts.port or _PORTS.get(parts.scheme)}"})


_PORTS = {"http": 80, "https": 443}


def addresses(host: str, port: int, asked: Collection[str] = ()) -> list[str]:
    """Look a host up: give its addresses that may be connected to. `asked`: hosts, or hosts with a port, that need not be public.

    Raises Refused if there are none but private ones; gaierror if there is no such host.
    """
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except UnicodeError:  # a part of the name is empty, or longer than names of hosts are
        raise socket.gaierror(socket.EAI_NONAME, f"{host[:60]!r} is no name of a host") from None
    if host in asked or f"{host}:{port}" in asked:
        return found
    public = [address for address in found if is_public(address)]
    if not public:
        raise Refused(
            f"leads to {host}:{port}, which is not a public address ({found[0]}); if it is meant, name it in the manifest's "
            "allow_hosts"
        )
    return public


def is_public(address: str) -> bool:
    """Tell whether an address is one of the internet: not of this machine, a private network, a link or a group."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = (
            ip.ipv4_mapped or ip.sixtofour or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        )
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def refuse_private(host: str, port: int, asked: Collection[str]) -> None:
    """Raise Refused for a host that is written as an address that nobody asked for: all that can be judged behind a proxy."""
    if host == "localhost" or _literal(host) is not None:
        addresses(host, port, asked)


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return None
