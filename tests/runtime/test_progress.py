"""Progress in a log: lines, each with the figures, and none for work that is done at once."""

from runtime import progress

import pytest


@pytest.mark.parametrize(("every", "lines"), [(0, 3), (60, 0)])
def test_off_a_terminal_progress_is_a_line_every_so_often(
    every: float, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", every)
    with progress.progress_bar(9, "epoch", "outer"), progress.progress_bar(3, "epoch") as bar:
        for epoch in range(3):
            bar.set_postfix_str(f"val_loss {epoch}", refresh=False)
            bar.update()
    said = [line for line in capsys.readouterr().err.split("\n") if "epoch 0" not in line and line]
    assert "\033" not in "".join(said)
    assert len(said) == lines
    assert all(line.startswith(f"training: epoch {n} of 3, 00:0") for n, line in enumerate(said, 1))
    assert all(line.endswith(f" left, val_loss {n}") for n, line in enumerate(said))
