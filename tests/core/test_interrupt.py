import signal
import threading

import pytest

from sfumato.core import interrupt


def test_the_first_interrupt_is_noted_and_the_second_stops():
    with pytest.raises(KeyboardInterrupt), interrupt.deferred() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_handler_of_somebody_else_is_left_alone(monkeypatch):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with interrupt.deferred() as stop:
            signal.raise_signal(signal.SIGINT)
            assert seen == [1] and not stop()
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_installed():
    found = []

    def work():
        with interrupt.deferred() as stop:
            found.append((stop(), signal.getsignal(signal.SIGINT) is signal.default_int_handler))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, True)]
