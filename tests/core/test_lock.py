"""A lock is one process's at a time, and ends with it."""

import os
import subprocess
import sys
import threading
import time

import pytest

from sfumato.core.errors import UserError
from sfumato.core.lock import held


def test_a_second_holder_is_turned_away_until_the_first_is_gone(tmp_path):
    with held(tmp_path / "lock", what="seal"), pytest.raises(UserError, match="another seal"), held(tmp_path / "lock", what="seal"):
        pass
    with held(tmp_path / "lock", what="seal"):
        pass


def test_waiting_is_enough_where_the_first_ends_in_time(tmp_path):
    got = []

    def second():
        with held(tmp_path / "lock", what="look", wait=20):
            got.append(time.monotonic())

    with held(tmp_path / "lock", what="look"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        released = time.monotonic()
    thread.join()
    assert got and got[0] >= released


def test_a_killed_process_holds_nothing(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from sfumato.core.lock import held\n"
        "with held(Path(sys.argv[1]), what='seal'):\n"
        "    print('held', flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], capture_output=True, text=True)
    assert done.returncode == -9 and done.stdout == "held\n" and os.path.exists(tmp_path / "lock")
    with held(tmp_path / "lock", what="seal"):
        pass


def test_what_cannot_be_locked_is_said(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder", tmp_path / "file" / "lock"):
        with pytest.raises(UserError, match="could not be locked") as error, held(path, what="seal", wait=0.2):
            pass
        assert error.value.privacy
