"""Every script on a Redis Cluster of three nodes: all keys of one service are in one slot.

The key prefix sees to that with its hash tag, and each call declares the prefix as its one key, so
that the client finds the node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast
from uuid import uuid4

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster

from local_llm_service.worker.embedded.processes.redis_process import RedisProcess, free_port
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.every_script import Site, play_all

SLOTS = 16_384
NODES = 3
#: Nodes speak to each other on their port plus 10,000.
HIGHEST_PORT = 55_000


def node_port() -> int:
    """A free port that leaves room for that."""
    return wait_until(lambda: (port := free_port()) <= HIGHEST_PORT and port, "a free port")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """Three nodes, each with a third of the slots, and redis-py's client of them."""
    with ExitStack() as exits:
        nodes = []
        for _ in range(NODES):
            port = node_port()
            extra = ("--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{port}.conf")
            nodes.append(exits.enter_context(RedisProcess(port=port, extra=extra)))
        clients = [redis.Redis.from_url(node.url, decode_responses=True) for node in nodes]
        for place, client in enumerate(clients):
            first, end = SLOTS * place // NODES, SLOTS * (place + 1) // NODES
            client.execute_command("CLUSTER ADDSLOTS", *range(first, end))
            client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
        for client in clients:
            wait_until(lambda c=client: is_whole(c), "all nodes know of each other")
            client.close()
        start = [ClusterNode("127.0.0.1", node.port) for node in nodes]
        yield exits.enter_context(RedisCluster(startup_nodes=start, decode_responses=True))


def is_whole(client: redis.Redis) -> bool:
    """Whether this node can reach every slot."""
    info = cast(dict[str, str], client.execute_command("CLUSTER INFO"))
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(NODES)


def test_every_script_runs_on_a_cluster(cluster: RedisCluster) -> None:
    """Each moves jobs there as on one Redis. Its nodes are given a script when they lack it."""
    # Its client has the few calls that the store makes.
    play_all(Site(cast(redis.Redis, cluster), keys.DEFAULT_PREFIX))
    slots = {cluster.keyslot(key) for key in cluster.scan_iter(match="*")}
    assert len(slots) == 1, "all keys are in one slot"


@pytest.mark.parametrize(
    "call",
    [
        lambda site: site.ask(),
        lambda site: site.take(),
        lambda site: site.jobs.cancel(uuid4().hex),
        lambda site: site.jobs.redis_up_seconds(longest_gap_seconds=5),
    ],
    ids=["submit", "take", "cancel", "redis_up_seconds"],
)
def test_without_a_hash_tag_scripts_fail(
    cluster: RedisCluster, call: Callable[[Site], object]
) -> None:
    """Keys are spread over the nodes, and a script reaches only those of its own."""
    site = Site(cast(redis.Redis, cluster), "llm:")

    def call_often() -> None:
        for _ in range(20):
            call(site)

    with pytest.raises(redis.ResponseError, match="cript attempted to access"):
        call_often()


def test_prefixes_without_a_hash_tag_spread_their_keys(cluster: RedisCluster) -> None:
    """What the default prefix is for."""
    spread, together = Keys("llm:"), Keys()
    assert len({cluster.keyslot(spread.job(str(n))) for n in range(9)}) > 1
    assert len({cluster.keyslot(together.job(str(n))) for n in range(9)}) == 1
