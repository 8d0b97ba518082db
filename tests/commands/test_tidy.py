"""What `make tidy` does without git; test_experiments.py has it among experiments."""

from pathlib import Path

import pytest

from commands import tidy


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_without_git_the_cache_keeps_what_the_workspace_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    unused = tmp_path / ".dvc/cache/files/md5/90/0150983cd24fb0d6963f7d28e17f72"
    unused.parent.mkdir(parents=True)
    (tmp_path / ".dvc/config").touch()
    unused.write_text("abc")
    part = tidy.dvc_cache(tmp_path)
    assert part.name.startswith("DVC's cache: 1 files")
    assert part.free
    part.free()
    assert not unused.exists()
