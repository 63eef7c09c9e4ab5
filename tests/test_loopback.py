"""A proxy in the environment is not asked for this machine: by no client, in no entry point, in no child process."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from velocity.loopback import bypass_proxies

ROOT = Path(__file__).parents[1]
OURS = "localhost,127.0.0.1,::1"
PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")


@pytest.fixture
def clean(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"no_proxy": "intranet"}, {"no_proxy": "intranet"}),  # no proxy: the variables stay as they are
        ({"http_proxy": ""}, {}),
        ({"http_proxy": "http://proxy:1"}, {"no_proxy": OURS, "NO_PROXY": OURS}),
        ({"ALL_PROXY": "socks5://proxy:1"}, {"no_proxy": OURS, "NO_PROXY": OURS}),
        ({"http_proxy": "x", "NO_PROXY": "a, .b"}, {"no_proxy": f"a,.b,{OURS}", "NO_PROXY": f"a,.b,{OURS}"}),
        ({"http_proxy": "x", "NO_PROXY": "a", "no_proxy": "b"}, {"no_proxy": f"b,{OURS}", "NO_PROXY": f"a,{OURS}"}),
        ({"all_proxy": "x", "no_proxy": "::1"}, dict.fromkeys(["no_proxy", "NO_PROXY"], "::1,localhost,127.0.0.1")),
        ({"http_proxy": "x", "no_proxy": "*"}, {"no_proxy": "*"}),
    ],
)
def test_what_the_user_has_set_stays(clean, given, expected):
    for name, value in given.items():
        clean.setenv(name, value)
    for _ in range(2):  # the second time adds nothing
        bypass_proxies()
        assert {name: os.environ[name] for name in ("no_proxy", "NO_PROXY") if name in os.environ} == expected


class Counting(ThreadingHTTPServer):
    """Answers everything with its name; ``requests``: what it was asked for."""

    def __init__(self, name):
        requests = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            do_POST = do_CONNECT = do_GET

            def log_message(self, *arguments):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = requests
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    with Counting("server") as running:
        yield running
        running.shutdown()


@pytest.fixture
def proxy():
    with Counting("proxy") as running:
        yield running
        running.shutdown()


ASK = """
import asyncio, subprocess, sys, urllib.request
def ask(url):
    import aiohttp, httpx, requests
    async def by_aiohttp():
        async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as response:
            return await response.text()
    opened = urllib.request.urlopen(url).read().decode()
    return [opened, httpx.get(url).text, requests.get(url).text, asyncio.run(by_aiohttp())]
def enter(function, *arguments):
    try:
        function(*arguments)
    except SystemExit:
        pass
if sys.argv[1] == "flows":
    import flows
elif sys.argv[1] == "cli":
    from velocity.cli import main
    enter(main, ["evaluate", "--test-set", "nowhere"])
elif sys.argv[1] == "run":
    url, sys.argv[1:] = sys.argv[2], ["no-stage"]
    from velocity.run import main
    enter(main)
    sys.argv[1:] = ["run", url]
for host in ("127.0.0.1", "localhost"):
    print(*ask(sys.argv[2].replace("127.0.0.1", host)))
if sys.argv[1] != "child":
    subprocess.run([sys.executable, __file__, "child", sys.argv[2]], check=True)
"""


def asked(folder: Path, entry: str, url: str) -> list[str]:
    """What each client got, in a process that begins with ``entry`` and, but for "child", in a child of it."""
    (folder / "ask.py").write_text(ASK)
    command = [sys.executable, folder / "ask.py", entry, url]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return [word for word in done.stdout.split() if word in ("server", "proxy")]


@pytest.fixture
def url(clean, server, proxy):
    clean.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
    clean.setenv("PYTHONPATH", str(ROOT))
    return f"http://127.0.0.1:{server.server_port}/"


@pytest.mark.parametrize("entry", ["flows", "cli", "run"])
def test_no_client_asks_the_proxy_for_this_machine(entry, url, proxy, tmp_path):
    assert asked(tmp_path, entry, url) == ["server"] * 16
    assert proxy.requests == []


def test_each_of_these_clients_would_ask_it(url, tmp_path):
    assert asked(tmp_path, "child", url) == ["proxy"] * 8
