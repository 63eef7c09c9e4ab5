"""A PostgreSQL server and a store that speaks S3, each on a free port of this machine and gone with the tests."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.services import HOST, Services

PASSWORD = "hunter2-of-the-database"
DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # where Debian keeps them off the PATH
KEYS = {"AWS_ACCESS_KEY_ID": "an-access-key", "AWS_SECRET_ACCESS_KEY": "hunter2-of-the-store"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return free.getsockname()[1]


@pytest.fixture(scope="session")
def services(tmp_path_factory) -> Iterator[Services]:
    with Services(tmp_path_factory.mktemp("logs")) as running:
        yield running


@dataclass(frozen=True)
class PostgreSQL:
    """A running server with one role, ``velocity``."""

    port: int

    def url(self, database: str, driver: str = "postgresql") -> str:
        return f"{driver}://velocity:{PASSWORD}@{HOST}:{self.port}/{database}"

    def create(self, database: str) -> None:
        self.rows(f"create database {database}", "postgres")

    def rows(self, query: str, database: str) -> list[tuple]:
        import psycopg2

        connection = psycopg2.connect(self.url(database))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    found = shutil.which("initdb", path=os.pathsep.join([os.environ["PATH"], *map(str, DEBIAN)]))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    programs, port = Path(found).parent, free_port()
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        other: dict = {}
        if os.geteuid() == 0:  # the server refuses to be root
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            other = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        password = Path(folder, "password")
        password.write_text(PASSWORD)
        password.chmod(0o644)
        data = f"{folder}/data"
        make = ["--pgdata", data, "--username", "velocity", "--auth", "scram-sha-256", "--pwfile", str(password)]
        quiet = {"stdout": subprocess.DEVNULL, "cwd": folder, **other}
        subprocess.run([programs / "initdb", *make, "--no-sync"], check=True, **quiet)
        options = f"-c listen_addresses={HOST} -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        control = [programs / "pg_ctl", "--pgdata", data, "--silent", "--wait"]
        subprocess.run([*control, "--options", options, "--log", f"{folder}/log", "start"], check=True, **quiet)
        try:
            yield PostgreSQL(port)
        finally:
            subprocess.run([*control, "--mode", "immediate", "stop"], check=True, **quiet)


@dataclass(frozen=True)
class ObjectStore:
    """``settings``: the environment in which every library finds it."""

    address: str
    settings: dict[str, str]

    def create(self, bucket: str) -> None:
        self._client().create_bucket(Bucket=bucket)

    def names(self, bucket: str) -> list[str]:
        return [entry["Key"] for entry in self._client().list_objects_v2(Bucket=bucket).get("Contents", [])]

    def put(self, bucket: str, name: str, content: bytes) -> None:
        self._client().put_object(Bucket=bucket, Key=name, Body=content)

    def _client(self):
        import boto3

        keys = {"aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"]}
        return boto3.client("s3", endpoint_url=self.address, region_name="us-east-1", **keys)


@pytest.fixture(scope="session")
def object_store(services) -> ObjectStore:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", HOST, "--port", str(port)]
    server = services.start("S3", command, os.environ)
    address = f"http://{HOST}:{port}"
    server.wait_for(address)
    return ObjectStore(address, {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1", **KEYS})


@pytest.fixture
def s3(object_store, monkeypatch) -> ObjectStore:
    """The store, with its settings in the environment."""
    for name, value in object_store.settings.items():
        monkeypatch.setenv(name, value)
    return object_store
