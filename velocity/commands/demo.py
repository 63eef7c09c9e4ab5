"""``velocity-asr demo``: the recogniser in the user's own browser."""

from __future__ import annotations

import signal
import webbrowser
from pathlib import Path
from tempfile import TemporaryDirectory

from velocity.artefacts.site import Site, write_site


def demo(artefact: Path, port: int, browser: bool) -> None:
    """Serve the page with the model ``artefact`` until Ctrl-C or SIGTERM; a line on stdout says where."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with TemporaryDirectory(prefix="velocity-asr-") as folder:
            site = Path(folder) / "site"
            with Site(site, port) as server:  # first of all: the port may be taken
                write_site(artefact, site)
                print(f"{server.url} has the page; Ctrl-C ends it", flush=True)
                if browser:
                    webbrowser.open(server.url)
                server.serve_forever()
    except KeyboardInterrupt:
        pass  # how it is ended
    finally:
        signal.signal(signal.SIGTERM, before)
