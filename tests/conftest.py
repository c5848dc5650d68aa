"""What holds for every test."""

import ipaddress
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


def pytest_configure() -> None:
    """A shell makes what it starts in the background, and all that this starts, deaf to
    Ctrl-C; some tests press it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class FileByFile(LoadScopeScheduling):
    """Processes share the work file by file, because what a file starts is slow to start.
    The functional suite stays together: it looks at what all of it has called."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return "functional" if file.startswith("tests/functional/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileByFile:
    """Instead of marks: pytest-xdist 3.8 does not see those with pytest 9.2."""
    return FileByFile(config, log)


class OutsideConnection(AssertionError):
    """A test tried to leave this machine."""


def _is_inside(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True
    host = address[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_connection_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections go to loopback addresses and Unix sockets, nowhere else."""

    def guarded(name: str) -> None:
        connect = getattr(socket.socket, name)

        def guard(self: socket.socket, address: Any) -> Any:
            if not _is_inside(address):
                raise OutsideConnection(f"a test tried to connect to {address!r}")
            return connect(self, address)

        monkeypatch.setattr(socket.socket, name, guard)

    guarded("connect")
    guarded("connect_ex")


@pytest.fixture(scope="session", autouse=True)
def _own_runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lookup sockets of agents lie here, also those of processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_audit_directories(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keys, heads and archives of the log that tests write."""
    from django.conf import settings

    directory = tmp_path_factory.mktemp("audit")
    for name in ("KEYS", "HEADS", "ARCHIVE"):
        setattr(settings, f"KVPLANE_AUDIT_{name}_DIR", str(directory / name.lower()))


@pytest.fixture(scope="session", autouse=True)
def _tables_can_be_emptied_between_tests() -> Iterator[None]:
    """The database refuses to delete audit entries, from tests too."""
    from django.db import transaction
    from django.db.backends.base.operations import BaseDatabaseOperations

    from controlplane.audit import guards

    def flush(operations: BaseDatabaseOperations, statements: list[str]) -> None:
        connection = operations.connection
        with (
            transaction.atomic(using=connection.alias),
            guards.lifted(connection),
            connection.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", flush)
        yield


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Test on a database file, as in production: an SQLite database in memory
    has other locks, under which no two writers can be tried."""
    from django.conf import settings

    default = settings.DATABASES["default"]
    if default["ENGINE"] == "django.db.backends.sqlite3":
        name = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
        default["TEST"] = {**default.get("TEST", {}), "NAME": name}
