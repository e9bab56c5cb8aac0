"""A certificate authority that every client in the tests trusts; to be imported before aiohttp.

aiohttp reads SSL_CERT_FILE once, when it is imported.
"""

from __future__ import annotations

import os
import ssl
import tempfile

import trustme

__all__ = ["server_context"]

_AUTHORITY = trustme.CA()
# Kept open as long as the process: it is removed with it.
_FILE = tempfile.NamedTemporaryFile(prefix="authority-", suffix=".pem")  # noqa: SIM115
_AUTHORITY.cert_pem.write_to_path(_FILE.name)
os.environ["SSL_CERT_FILE"] = _FILE.name


def server_context() -> ssl.SSLContext:
    """Return what a server on 127.0.0.1 shows its clients."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    return context
