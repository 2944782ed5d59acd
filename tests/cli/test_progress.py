"""A time left that is true, also after resuming; a phase that is named; nothing that reads like nothing."""

import io

from rich.console import Console

from sfumato.cli import _progress
from sfumato.cli._progress import Bar, Pace, words


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def after(self, seconds):
        self.now += seconds


def test_a_run_that_goes_on_counts_what_it_did_itself():
    clock = Clock()
    pace = Pace(clock)
    assert pace.left(901, 1000) is None  # the first 900 were another run's, the 901st took nobody knows how long
    clock.after(10)
    assert pace.left(902, 1000) == 980
    clock.after(10)
    assert pace.left(903, 1000) == 970
    clock.after(97 * 10)
    assert pace.left(1000, 1000) == 0


def test_each_phase_has_a_time_of_its_own():
    clock = Clock()
    pace = Pace(clock)
    pace.left(0, 10)
    clock.after(50)
    assert pace.left(5, 10) == 50
    assert pace.left(1, 10) is None  # it starts over: another phase of as many
    clock.after(1)
    assert pace.left(2, 10) == 8
    assert pace.left(3, 400) is None and pace.left(3, None) is None and pace.left(9, 3) is None


def test_times_as_people_say_them():
    assert [words(seconds) for seconds in (0.2, 42, 95, 3600, 9000)] == ["1 s", "42 s", "2 min", "60 min", "2.5 h"]


def shown(bar, tell, **how):
    said = []
    tell(Bar("title", *bar, lambda *given: said.append(given), **how))
    return said


def test_a_phase_is_named_and_an_unknown_total_is_none(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_progress.time, "monotonic", clock)
    monkeypatch.setattr(Pace.__init__, "__defaults__", (clock,))

    def tell(bar):
        bar.phase("drawing", 0, 0)
        bar.phase("training", 1, 3)
        clock.after(4)
        bar.phase("training", 2, 3)
        bar(1, note="loss 0.5")

    assert shown((7,), tell, timed=True) == [
        ("drawing", 0, None, ""), ("training", 1, 3, ""), ("training", 2, 3, "about 4 s left"), ("title", 1, 7, "loss 0.5"),
    ]  # fmt: skip
    assert shown((7,), tell, timed=False)[2] == ("training", 2, 3, "")


def test_a_log_gets_a_line_a_minute(monkeypatch):
    clock, said = Clock(), []
    show = _progress._lines(said.append, clock)
    show("training", 1, 9, "")
    clock.after(61)
    show("training", 5, 9, "about 2 min left")
    show("training", 6, 9, "")
    clock.after(61)
    show("drawing", 0, None, "")
    assert said == ["training 5/9, about 2 min left", "drawing"]


def test_a_terminal_shows_the_phase_and_never_a_question_mark():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with _progress.bar("getting ready", None, console, lambda text: None, lambda text: None) as bar:
        bar.phase("drawing \x1b[2J", 0, 0)
        bar.phase("training", 3, 9)
    text = screen.getvalue()
    assert "training" in text and "3/9" in text and "?" not in text.replace("[?25", "") and "\x1b[2J" not in text
