"""How a training run shows where it is: lines with the time left, or a bar in a terminal."""

import io
import sys

from sam2_hf.runs.train_progress import TrainProgress


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """A screen that is looked at."""

    def isatty(self):
        return True


def lines_of(steps, total, seconds, first=1):
    clock, lines = Clock(), []
    progress = TrainProgress(total, lines.append, bar=False, clock=clock)
    for step in range(first, first + steps):
        clock.now += seconds
        progress.stepped(step, loss=1 / step)
    progress.close()
    return lines


def test_the_first_step_is_told_at_once_and_the_last_too():
    lines = lines_of(steps=30, total=30, seconds=1.0)
    assert lines[0] == "step 1 of 30: loss 1, 1 s a step, 00:29 left"
    assert [line.split()[1] for line in lines] == ["1", "11", "21", "30"]
    assert "left" not in lines[-1]


def test_a_line_has_the_mean_loss_since_the_one_before():
    lines = lines_of(steps=11, total=30, seconds=1.0)
    assert f"loss {sum(1 / step for step in range(2, 12)) / 10:.3g}," in lines[1]


def test_the_time_left_of_a_resumed_run_counts_its_own_steps():
    lines = lines_of(steps=2, total=100, seconds=2.0, first=91)
    assert lines[0] == "step 91 of 100: loss 0.011, 2 s a step, 00:18 left"


def test_a_long_run_tells_less_often():
    assert len(lines_of(steps=24 * 60, total=24 * 60, seconds=60.0)) < 400


def test_a_terminal_has_a_bar_instead_of_lines(monkeypatch):
    lines, terminal = [], Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = TrainProgress(4, lines.append, bar=True)
    progress.stepped(3, loss=0.25)
    progress.say("step 3: score 71.0")
    progress.stepped(4, loss=0.125)
    progress.close()
    assert lines == ["step 3: score 71.0"]
    assert "4/4" in terminal.getvalue()
    assert "loss=0.125" in terminal.getvalue()


def test_a_terminal_without_a_bar_has_lines(monkeypatch):
    lines, terminal = [], Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = TrainProgress(4, lines.append, bar=False)
    progress.stepped(1, loss=0.25)
    assert len(lines) == 1
    assert terminal.getvalue() == ""
