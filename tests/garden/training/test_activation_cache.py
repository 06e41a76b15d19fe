"""The cache gives back what was put in, survives damage, and stays within its limit."""

import collections
import os

import numpy as np
import pytest

from garden.errors import ResourceError
from garden.training import activation_cache
from garden.training.activation_cache import ActivationCache, discard_oldest

FACTS = {"weights": "w", "preparation": "p"}


def rows(*values):
    base = np.array(values, np.float32)
    return {
        "boundary": base[:, None, None] * np.ones((1, 2, 3), np.float32),
        "features": base[:, None] + np.arange(4, dtype=np.float32),
        "thumbnail": np.zeros((len(values), 64, 64, 3), np.uint8),
    }


def test_rows_come_back_in_the_order_asked_for_and_in_another_process_life(tmp_path):
    cache = ActivationCache(tmp_path, FACTS)
    cache.append(["a", "b"], rows(1, 2))
    cache.append(["c"], rows(3))
    reopened = ActivationCache(tmp_path, FACTS)
    assert "b" in reopened and "d" not in reopened and len(reopened) == 3
    assert reopened.gather(["c", "a", "c"], "features")[:, 0].tolist() == [3, 1, 3]
    assert reopened.gather(["b"], "boundary").shape == (1, 2, 3)


def test_other_facts_are_another_cache(tmp_path):
    ActivationCache(tmp_path, FACTS).append(["a"], rows(1))
    assert "a" not in ActivationCache(tmp_path, {**FACTS, "weights": "other"})


@pytest.mark.parametrize("damage", ["truncate", "remove", "keys"])
def test_a_damaged_block_counts_as_not_computed(tmp_path, damage):
    cache = ActivationCache(tmp_path, FACTS)
    cache.append(["good"], rows(1))
    before = set(cache.directory.iterdir())
    cache.append(["bad"], rows(2))
    new = {path.name.split(".", 1)[1]: path for path in set(cache.directory.iterdir()) - before}
    if damage == "truncate":
        os.truncate(new["features.npy"], 40)
    elif damage == "remove":
        new["boundary.npy"].unlink()
    else:
        new["json"].write_text('["bad", "and another"]')
    reopened = ActivationCache(tmp_path, FACTS)
    assert "good" in reopened and "bad" not in reopened


def test_more_blocks_than_a_process_may_have_files_open(tmp_path, monkeypatch):
    # What other tests of this process hold open is not this one's matter.
    before = len(os.listdir("/proc/self/fd"))
    cache = ActivationCache(tmp_path, FACTS)
    for number in range(300):
        cache.append([str(number)], rows(number))
    reopened = ActivationCache(tmp_path, FACTS)
    values = reopened.gather([str(number) for number in range(300)], "features")[:, 0]
    assert values.tolist() == list(range(300))
    assert len(os.listdir("/proc/self/fd")) - before < 700


def test_a_disk_without_room_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    cache = ActivationCache(tmp_path, FACTS)
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(activation_cache.shutil, "disk_usage", lambda path: usage(10, 10, 100))
    before = set(cache.directory.iterdir())
    with pytest.raises(ResourceError) as error:
        cache.append(["a"], rows(1))
    assert str(error.value) == (
        f"The activation cache {cache.directory} needs 0 MiB more and the disk has 0 MiB left. Free some space, name "
        "another disk with the environment variable GARDEN_CACHE, or run with --no-cache; the same command then goes "
        "on where it stopped."
    )
    assert set(cache.directory.iterdir()) == before


def test_the_least_recently_used_cache_goes_first_and_the_one_in_use_never(tmp_path):
    caches = []
    for number in range(3):
        cache = ActivationCache(tmp_path, {"number": number})
        cache.append(["a"], rows(number))
        (cache.directory / "last_used").write_text("")
        os.utime(cache.directory / "last_used", (number + 1, number + 1))
        caches.append(cache)
    size = sum(file.stat().st_size for file in caches[0].directory.iterdir())
    removed = discard_oldest(tmp_path, keep=caches[0].directory, limit_bytes=int(2.5 * size))
    assert removed == [caches[1].directory]
    assert caches[0].directory.is_dir() and caches[2].directory.is_dir()
