"""``velocity-asr serve``: the recogniser behind HTTP."""

from __future__ import annotations

import sys

from velocity.server.app import application
from velocity.server.http import address, bind, server
from velocity.server.service import Service


def serve(service: Service, host: str, port: int) -> None:
    """Answer on ``host``:``port`` until SIGTERM or Ctrl-C; print its address.

    Raises VelocityError when it cannot listen there.
    """
    listener = bind(host, port)
    if not address(listener).is_loopback:
        print(f"warning: anyone who can reach {host} may use the server: it has no password", file=sys.stderr)
    named = f"[{host}]" if ":" in host else host
    print(f"{service.name} on http://{named}:{listener.getsockname()[1]}/v1", flush=True)
    server(application(service)).run(sockets=[listener])
