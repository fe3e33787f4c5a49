"""Free ports; those on which programs listen, as `ss` shows them; strangers who try them."""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import grpc
import psutil

from .waiting import DEADLINE_S

REPLICA = "ServeReplica"
"""In the title of Serve's replicas, which listen on every address; Serve has no setting for it."""

_REPLICA_METHOD = "/ray.serve.ASGIService/HandleRequest"


@dataclass(frozen=True)
class Port:
    """A port, the address it is bound to, and the title of the process that listens."""

    address: str
    number: int
    title: str

    @property
    def is_on_loopback(self) -> bool:
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)  # IPv4 on a socket that speaks both
        return (mapped or address).is_loopback


def listening(process_id: int) -> list[Port]:
    """The ports of a process and its children."""
    root = psutil.Process(process_id)
    ports: list[Port] = []
    for process in (root, *root.children(recursive=True)):
        try:
            title = " ".join(process.cmdline())
            ports += [
                Port(connection.laddr.ip, connection.laddr.port, title)
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            ]
        except psutil.Error:
            continue
    return ports


def open_to_others(ports: Iterable[Port]) -> list[Port]:
    """Ports that another machine reaches and where a stranger is not refused."""
    reachable = [port for port in ports if not port.is_on_loopback]
    return [port for port in reachable if REPLICA not in port.title or not refuses_stranger(port)]


def refuses_stranger(port: Port) -> bool:
    """Whether a replica of Serve refuses a call without the cluster's token."""
    with grpc.insecure_channel(f"127.0.0.1:{port.number}") as channel:
        call = channel.unary_unary(_REPLICA_METHOD)
        try:
            call(b"", timeout=DEADLINE_S)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code == grpc.StatusCode.UNAUTHENTICATED
    return False


def free_ports(count: int) -> list[int]:
    """Free ports outside the range that the system gives to outgoing connections."""
    free = []
    for number in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("", number))
            free.append(number)
        if len(free) == count:
            return free
    raise AssertionError("too few ports are free")


def free_port() -> int:
    """One of `free_ports`."""
    return free_ports(1)[0]
