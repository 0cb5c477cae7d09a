"""A machine without a network: a Python that starts with this folder on its path reaches itself alone.

What is asked for is noted in the file that the environment variable FOMM_ASKED_FOR names, whether or not the
error is caught.
"""

import ipaddress
import os
import socket

_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def _is_here(host) -> bool:
    if host in (None, "", b"", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(host) -> None:
    if not _is_here(host):
        if os.environ.get("FOMM_ASKED_FOR"):
            with open(os.environ["FOMM_ASKED_FOR"], "a") as file:
                file.write(f"{host!r}\n")
        raise OSError(f"the network is cut off: {host!r} was asked for")


def connect(self, address):
    if self.family != getattr(socket, "AF_UNIX", None):
        _check(address[0])
    return _connect(self, address)


def connect_ex(self, address):
    if self.family != getattr(socket, "AF_UNIX", None):
        _check(address[0])
    return _connect_ex(self, address)


def getaddrinfo(host, *args, **kwargs):
    _check(host.decode() if isinstance(host, bytes) else host)
    return _getaddrinfo(host, *args, **kwargs)


socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = connect, connect_ex, getaddrinfo
