"""Ports of our own processes that others than this machine can reach: found in the kernel's lists of sockets, and refused."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from schemas.errors import ConfigError

_LISTENS = "0A"  # the state of such a socket in /proc/net/tcp


def refuse_open_ports(processes: Iterable[int]) -> None:
    """Raise if a process listens where others can reach it: Beam's ports have no password, and run any code that is sent to them.

    Raises:
        ConfigError: one does.
    """
    if found := sorted({f"{address}:{port}" for address, port in listening(processes) if not is_own(address)}):
        raise ConfigError(
            f"Beam's runner or its worker listens on {', '.join(found)}, where whoever reaches this machine can run code in it",
            "leave SLUICE_PRISM unset, so that a Prism is built that listens on 127.0.0.1; or, behind a firewall, give --allow-open-ports",
        )


def listening(processes: Iterable[int]) -> Iterator[tuple[str, int]]:
    """Yield the address and the port of each socket on which some processes listen. Linux only; elsewhere nothing."""
    for process in processes:
        own = _sockets(process)
        for table in ("tcp", "tcp6"):
            path = Path(f"/proc/{process}/net/{table}")
            for line in path.read_text().splitlines()[1:] if path.exists() else ():
                _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
                if state == _LISTENS and inode in own:
                    yield _decoded(local)


def is_own(address: str) -> bool:
    """Return whether only this machine reaches an address."""
    return ip_address(address).is_loopback


def _sockets(process: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    found = set()
    folder = f"/proc/{process}/fd"
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            continue  # closed since
        if match:
            found.add(match[1])
    return found


def _decoded(local: str) -> tuple[str, int]:
    """Return address and port of the kernel's hex: words of 32 bits in the machine's own order. IPv4 within IPv6 is given as IPv4."""
    host, _, port = local.partition(":")
    packed = b"".join(int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8))
    address = IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed).ipv4_mapped or IPv6Address(packed)
    return str(address), int(port, 16)
