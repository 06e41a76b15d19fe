"""Models in object storage: listed, copied whole, kept, removed; on fsspec's storage in memory."""

from __future__ import annotations

import stat
import sys
import tempfile
import threading
import uuid
from pathlib import Path

import fsspec
import pytest

from serving.config import ModelConfig, ServerConfig
from serving.errors import ServingError
from serving.object_storage import ObjectStorage
from serving.server import Server
from serving.source import FileSystemSource


@pytest.fixture
def bucket():
    """A URI in memory that no other test uses."""
    uri = f"memory://{uuid.uuid4().hex}"
    yield uri
    fsspec.filesystem("memory").rm(uri, recursive=True)


def put(uri, **contents):
    for name, content in contents.items():
        with fsspec.open(f"{uri}/{name.replace('__', '/')}", "wb") as file:
            file.write(content)


def content_of(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def storage(tmp_path):
    return ObjectStorage(tmp_path / "cache")


def fetch(storage, uri, version="1"):
    path = storage.local_parent("m", uri) / version
    storage.fetch(path)
    return path


def test_names_are_what_stands_before_the_first_slash(storage, bucket):
    put(
        f"{bucket}/m",
        **{"1__saved_model.pb": b"x", "1__variables__index": b"y", "22__saved_model.pb": b"z", "note": b""},
    )
    assert storage.list_names(f"{bucket}/m") == ["1", "22", "note"]


def test_a_version_is_copied_and_removed(storage, bucket, tmp_path):
    put(f"{bucket}/m/1", **{"saved_model.pb": b"model", "variables__index": b"12"})
    path = fetch(storage, f"{bucket}/m")
    assert content_of(path) == {"saved_model.pb": b"model", "variables/index": b"12"}
    storage.forget(path)
    assert content_of(tmp_path / "cache") == {}


def test_models_and_paths_do_not_meet_in_the_cache(storage):
    parents = {
        storage.local_parent(name, uri)
        for name in ("m", "../m", "m/1", ".")
        for uri in ("s3://bucket/a", "s3://bucket/b")
    }
    assert len(parents) == 8
    assert {parent.parent for parent in parents} == {storage.local_parent("m", "s3://x").parent}


def test_what_was_copied_before_is_copied_again_only_if_it_changed(bucket, tmp_path, monkeypatch):
    put(f"{bucket}/m/1", **{"saved_model.pb": b"old", "index": b"1"})
    fetch(ObjectStorage(tmp_path), f"{bucket}/m")
    copies = []
    memory = fsspec.filesystem("memory")
    get_file = type(memory).get_file
    monkeypatch.setattr(
        type(memory), "get_file", lambda self, remote, local: copies.append(remote) or get_file(self, remote, local)
    )
    # As after a crash: another process finds the cache of the first.
    path = fetch(ObjectStorage(tmp_path), f"{bucket}/m")
    assert copies == []
    put(f"{bucket}/m/1", **{"saved_model.pb": b"new"})  # the same size
    fetch(ObjectStorage(tmp_path), f"{bucket}/m")
    assert len(copies) == 2
    assert content_of(path) == {"saved_model.pb": b"new", "index": b"1"}
    # Somebody touched the copy.
    (path / "saved_model.pb").write_bytes(b"half a")
    fetch(ObjectStorage(tmp_path), f"{bucket}/m")
    assert content_of(path) == {"saved_model.pb": b"new", "index": b"1"}


def test_nothing_is_written_outside_of_the_copy(storage, bucket, tmp_path, monkeypatch):
    put(f"{bucket}/m/1", **{"saved_model.pb": b"model"})
    memory = fsspec.filesystem("memory")
    find = type(memory).find

    def find_more(self, path, **options):
        # Keys of S3 may be called so.
        return {**find(self, path, **options), f"{path}/a/../../../../escaped": {"size": 1, "type": "file"}}

    monkeypatch.setattr(type(memory), "find", find_more)
    monkeypatch.setattr(type(memory), "get_file", lambda self, remote, local: Path(local).write_bytes(b"x"))
    with pytest.raises(ServingError) as raised:
        fetch(storage, f"{bucket}/m")
    assert raised.value.message.endswith("/escaped, which would be copied outside of its folder.")
    assert content_of(tmp_path) == {}


def test_a_copy_that_is_not_whole_is_not_taken(storage, bucket, tmp_path, monkeypatch):
    put(f"{bucket}/m/1", **{"saved_model.pb": b"model"})
    memory = fsspec.filesystem("memory")
    # As after a connection that broke without a word.
    monkeypatch.setattr(type(memory), "get_file", lambda self, remote, local: Path(local).write_bytes(b"mod"))
    with pytest.raises(ServingError, match="changed while it was copied"):
        fetch(storage, f"{bucket}/m")
    assert content_of(tmp_path) == {}


def test_a_version_that_is_still_being_uploaded_is_not_taken(storage, bucket, monkeypatch):
    put(f"{bucket}/m/1", **{"saved_model.pb": b"model"})
    memory = fsspec.filesystem("memory")
    get_file = type(memory).get_file

    def upload_meanwhile(self, remote, local):
        get_file(self, remote, local)
        put(f"{bucket}/m/1", variables=b"more")

    with monkeypatch.context() as patched:
        patched.setattr(type(memory), "get_file", upload_meanwhile)
        with pytest.raises(ServingError) as raised:
            fetch(storage, f"{bucket}/m")
    assert str(raised.value) == (f"UNAVAILABLE: {bucket}/m/1 changed while it was copied. Is it still being uploaded?")
    path = storage.local_parent("m", f"{bucket}/m")
    assert content_of(path) == {}  # nothing half copied is left
    assert content_of(fetch(storage, f"{bucket}/m")) == {"saved_model.pb": b"model", "variables": b"more"}


def test_a_full_disk_fails_one_load_and_leaves_nothing(storage, bucket, monkeypatch):
    put(f"{bucket}/m/1", a=b"1", b=b"2")

    def fail(self, remote, local):
        if remote.endswith("b"):
            raise OSError(28, "No space left on device")
        open(local, "wb").close()

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", fail)
    with pytest.raises(ServingError) as raised:
        fetch(storage, f"{bucket}/m")
    parent = storage.local_parent("m", f"{bucket}/m")
    assert str(raised.value) == (
        f"UNAVAILABLE: {bucket}/m/1 cannot be copied to {parent}: OSError: [Errno 28] No space left on device"
    )
    assert content_of(parent) == {}


def test_the_cache_of_a_process_goes_with_it(bucket):
    put(f"{bucket}/m/1", a=b"1")
    storage = ObjectStorage()
    path = fetch(storage, f"{bucket}/m")
    root = path.parent.parent
    assert content_of(root)
    storage.close()
    assert not root.exists()


def test_nothing_there(storage, bucket):
    put(bucket, a=b"")
    with pytest.raises(ServingError) as raised:
        storage.list_names(f"{bucket}/no")
    assert raised.value.message == f"NOT_FOUND: {bucket}/no not found"
    with pytest.raises(ServingError) as raised:
        fetch(storage, f"{bucket}/no")
    assert raised.value.message == f"{bucket}/no/1 holds no files."


def polled(storage, uri, tools):
    """The problem of a model after a poll."""
    source = FileSystemSource([ModelConfig("m", "/", uri=uri)], aspire=lambda name, versions: None, storage=storage)
    source.poll()
    tools.wait_for(lambda: source.problem("m"))
    return source.problem("m")


def test_a_missing_package_is_one_sentence(storage, monkeypatch, tools):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert polled(storage, "s3://bucket/m", tools) == (
        "Could not find base path s3://bucket/m for servable m with error UNIMPLEMENTED: s3://bucket/m needs "
        "fsspec's package for s3://. Install it with `pip install s3fs`."
    )
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    monkeypatch.delattr(fsspec, "core")
    assert polled(storage, "s3://bucket/m", tools) == (
        "Could not find base path s3://bucket/m for servable m with error UNIMPLEMENTED: s3://bucket/m is in object "
        "storage, which is read with fsspec. Install it with `pip install 'garden[storage]'`."
    )


def test_a_storage_that_refuses_is_one_sentence(storage, monkeypatch, tools):
    def refuse(self, path, **options):
        raise PermissionError("Access Denied\nsecond line")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "exists", refuse)
    assert polled(storage, "memory://b/m", tools) == (
        "Could not find base path memory://b/m for servable m with error UNAVAILABLE: memory://b/m cannot be listed: "
        "PermissionError: Access Denied"
    )


def test_an_unknown_scheme_is_one_sentence(storage, tools):
    assert polled(storage, "floppy://a/m", tools).startswith(
        "Could not find base path floppy://a/m for servable m with error UNIMPLEMENTED: floppy://a/m is on a file "
        "system that fsspec does not know: ValueError: "
    )


def test_a_slow_storage_holds_up_no_other_model(bucket, tmp_path, tools, monkeypatch):
    put(f"{bucket}/far/1", a=b"1")
    put(f"{bucket}/near/1", a=b"1")
    memory = type(fsspec.filesystem("memory"))
    get_file, gate = memory.get_file, threading.Event()

    def slow(self, remote, local):
        assert "near" in remote or gate.wait(20)
        get_file(self, remote, local)

    monkeypatch.setattr(memory, "get_file", slow)
    models = tuple(ModelConfig(name, tmp_path, uri=f"{bucket}/{name}") for name in ("far", "near"))
    config = ServerConfig(models=models, port=0, host="127.0.0.1", num_load_threads=1)
    server = Server(config, engine=RecordingEngine())
    starting = threading.Thread(target=server.start)
    try:
        starting.start()
        tools.wait_for(lambda: server._manager.available_versions("near") == {1})
        assert server._manager.available_versions("far") == frozenset()
    finally:
        gate.set()
        starting.join(20)
        server.stop(grace_period_seconds=1)


class Loaded:
    signatures, signature_def_map = {}, b""

    def unload(self):
        pass


class RecordingEngine:
    """Loads anything, and keeps what it saw there."""

    def __init__(self):
        self.seen = {}

    def load(self, path):
        self.seen[path.name] = content_of(path)
        return Loaded()


def test_a_server_follows_what_is_uploaded(bucket, tmp_path, tools):
    put(f"{bucket}/m/1", **{"saved_model.pb": b"one"})
    engine = RecordingEngine()
    models = (ModelConfig("m", tmp_path / "unused", uri=f"{bucket}/m"),)
    server = Server(
        ServerConfig(
            models=models, port=0, host="127.0.0.1", file_system_poll_wait_seconds=0.02, model_cache_dir=tmp_path / "c"
        ),
        engine=engine,
    )
    try:
        server.start()
        assert engine.seen == {"1": {"saved_model.pb": b"one"}}
        put(f"{bucket}/m/2", **{"saved_model.pb": b"two"})
        tools.wait_for(lambda: server._manager.available_versions("m") == {2})
        assert engine.seen["2"] == {"saved_model.pb": b"two"}
        # The copy of the old version has gone with it.
        [parent] = (tmp_path / "c").iterdir()
        tools.wait_for(lambda: content_of(parent).keys() == {"2/saved_model.pb", ".2.files.json"})
    finally:
        server.stop(grace_period_seconds=1)


def test_without_a_cache_the_copies_go_with_the_server(bucket, tmp_path, monkeypatch):
    put(f"{bucket}/m/1", **{"saved_model.pb": b"one"})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    models = (ModelConfig("m", tmp_path / "unused", uri=f"{bucket}/m"),)
    server = Server(ServerConfig(models=models, port=0, host="127.0.0.1"), engine=RecordingEngine())
    server.start()
    [folder] = tmp_path.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    server.stop(grace_period_seconds=1)
    assert list(tmp_path.iterdir()) == []
