"""A medium of each kind, and disks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer, running_cluster, running_redis
from tests.support.waiting import eventually

from .disks import Disk, OpenDisk
from .mediums import Directory, Medium, Server


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RedisServer]]:
    directory = tmp_path_factory.mktemp("redis")
    with running_redis(directory) as single, running_cluster(directory) as cluster:
        yield {"redis": single, "redis+cluster": cluster}


@pytest.fixture(params=["fs", "redis", "redis+cluster"])
def medium(
    request: pytest.FixtureRequest, tmp_path: Path, servers: dict[str, RedisServer]
) -> Medium:
    if request.param == "fs":
        return Directory(tmp_path / "shared")
    return Server(request.param, servers[request.param])


@pytest.fixture
def open_disk(tmp_path: Path) -> Iterator[OpenDisk]:
    opened: list[Disk] = []

    def open_one(*directories: Path, **settings: object) -> Disk:
        disk = Disk(*(directories or (tmp_path / "disk",)), **settings)
        opened.append(disk)
        return disk

    yield open_one
    for disk in opened:
        disk.backend.close()
        eventually(lambda disk=disk: disk.released == disk.offered)
