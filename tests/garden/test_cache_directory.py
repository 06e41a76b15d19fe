"""One directory for all that is kept between runs."""

from __future__ import annotations

from garden.cache_directory import cache_directory


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.delenv("GARDEN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache/garden"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg/garden"
    monkeypatch.setenv("GARDEN_CACHE", str(tmp_path / "mine"))
    assert cache_directory() == tmp_path / "mine"
