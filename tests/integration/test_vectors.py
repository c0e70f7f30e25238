"""Vectors of texts in Redis: kept once, for a time, and within a bound of bytes of their own."""

from __future__ import annotations

import json

import pytest
import redis

from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import CacheBounds, Lifetimes
from local_llm_service.worker.store.store import Store

KEYS = Keys()
VECTOR = [0.123456789, -1e-9, 1.0]


def store(client: redis.Redis, *bounds: int) -> Store:
    """A store with these bounds: seconds, bytes of an entry, of all."""
    return Store(client, Lifetimes(60, 60, 60), CacheBounds(*bounds))


def test_a_vector_comes_back_to_the_last_digit(redis_client: redis.Redis) -> None:
    """What is kept already is not kept again, as when a reply was lost."""
    vectors = store(redis_client, 60, 10_000, 100_000).vectors
    assert vectors.keep_vectors({"a": VECTOR, "b": [2.0]}) == 2
    assert vectors.keep_vectors({"a": VECTOR}) == 0
    assert vectors.known(["c", "a"]) == {"a": VECTOR}
    assert vectors.known([]) == {}
    assert 50 < redis_client.ttl(f"{KEYS.vector}a") <= 60


@pytest.mark.parametrize("bounds", [(0, 10_000, 100_000), (60, 10, 100_000), (60, 0, 0)])
def test_nothing_is_kept_that_is_too_large_or_not_to_be_kept(
    redis_client: redis.Redis, bounds: tuple[int, int, int]
) -> None:
    """As CACHE_MAX_ENTRY_BYTES says."""
    assert store(redis_client, *bounds).vectors.keep_vectors({"a": VECTOR}) == 0
    assert list(redis_client.scan_iter()) == []


def test_the_oldest_make_room_and_answers_stay(redis_client: redis.Redis) -> None:
    """A site that embeds a library loses no answer by it; the counted bytes are true."""
    redis_client.set(f"{KEYS.cache}x", "1 1 answer", ex=60)
    vectors = store(redis_client, 60, 10_000, 2000).vectors
    for number in range(20):
        vectors.keep_vectors({f"n{number:02}": VECTOR})
    kept = sorted(vectors.known([f"n{number:02}" for number in range(20)]))
    assert kept == [f"n{number:02}" for number in range(20 - len(kept), 20)]
    members = redis_client.zrange(KEYS.vector_index, 0, -1)
    assert len(members) == len(kept)
    assert 0 < sum(int(one.split(":")[1]) for one in members) <= 2000
    assert int(redis_client.get(KEYS.vector_bytes)) == sum(int(m.split(":")[1]) for m in members)
    assert redis_client.exists(f"{KEYS.cache}x")


def test_as_many_as_a_job_has_are_kept_in_one_call(redis_client: redis.Redis) -> None:
    """256 vectors of 1024 numbers."""
    vectors = store(redis_client, 60, 262_144, 268_435_456).vectors
    many = {f"{number}": [number / 7.0] * 1024 for number in range(256)}
    assert vectors.keep_vectors(many) == 256
    assert vectors.known(list(many)) == many
    assert len(json.dumps(many["1"])) < 262_144
