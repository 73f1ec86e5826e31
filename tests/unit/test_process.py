"""Programs are ended for good, in bounded time and memory, whatever they do. All of these are real programs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ccobs_ops.core.process import TAIL_LINES, ProcessError, User, environment, run, spawn
from ccobs_ops.core.redaction import MASK, REDACT

ROOT = Path(__file__).parents[2]
STUBBORN = """
import signal, sys, time
def heard(number, frame):
    print(signal.Signals(number).name, file=sys.stderr, flush=True)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), heard)
print("ready", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    time.sleep(0.05)
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as another account")


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.02)
    return true()


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_a_program_printed_and_how_it_ended_come_back() -> None:
    done = run(["sh", "-c", "cat; echo oops >&2; exit 3"], deadline=20, stdin_text="grüße\n", ok=(0, 3))
    assert (done.returncode, done.stdout, done.tail) == (3, "grüße\n", "oops")
    assert 0 < done.seconds < 20


def test_arguments_are_no_shell_line() -> None:
    assert (
        run(["printf", "%s|", "a b", "$HOME", "; rm -rf /", "'"], deadline=20).stdout
        == "a b|$HOME|; rm -rf /|'|"
    )


def test_a_bad_ending_says_which_program_how_and_its_last_words() -> None:
    with pytest.raises(ProcessError) as caught:
        run(["sh", "-c", "echo out; echo 'disk is full' >&2; exit 7"], deadline=20)
    assert caught.value.returncode == 7
    assert caught.value.message == "sh ended with exit status 7:\ndisk is full"


def test_a_silent_program_is_quoted_from_its_standard_output() -> None:
    with pytest.raises(ProcessError, match="said on stdout"):
        run(["sh", "-c", "echo said on stdout; exit 1"], deadline=20)


def test_death_by_signal_is_told_as_such() -> None:
    with pytest.raises(ProcessError, match="ended by signal 9") as caught:
        run(["sh", "-c", "kill -9 $$"], deadline=20)
    assert caught.value.returncode == -9


def test_the_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    one = f"sh -c 'sleep 60 & echo $! >> {tmp_path}/pids; wait'"
    script = f"{one} & {one} & echo $$ >> {tmp_path}/pids; wait"
    began = time.monotonic()
    with pytest.raises(ProcessError, match="still running after 2 s") as caught:
        run(["sh", "-c", script], deadline=2)
    assert time.monotonic() - began < 10
    assert caught.value.hint
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    assert eventually(lambda: not any(map(alive, pids)), 3), "a grandchild outlived the deadline"


def test_children_left_in_the_group_end_with_the_program() -> None:
    done = run(["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"], deadline=20)
    assert eventually(lambda: not alive(int(done.stdout)), 3)


def test_a_daemon_that_keeps_the_pipes_open_does_not_keep_us_waiting() -> None:
    began = time.monotonic()
    done = run(["sh", "-c", "setsid sleep 20 & echo $!"], deadline=10)
    try:
        assert time.monotonic() - began < 8
        assert done.stdout.strip().isdigit()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(done.stdout), signal.SIGKILL)


@pytest.mark.parametrize(
    ("ignored", "ending"),
    [
        ([], signal.SIGINT),
        (["SIGINT"], signal.SIGTERM),
        (["SIGINT", "SIGTERM"], signal.SIGKILL),
    ],
)
def test_the_ladder_goes_as_far_as_needed(ignored: list[str], ending: signal.Signals) -> None:
    restored = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    with spawn(python(restored + STUBBORN, *ignored), stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        began = time.monotonic()
        child.stop(grace=0.4)
        took = time.monotonic() - began
        assert child.poll() == -ending
        assert child.tail.split() == ignored
        assert 0.4 * len(ignored) <= took < 0.4 * len(ignored) + 5
        child.stop()  # a second time is no error
    assert not alive(child.pid)


def test_the_first_signal_can_be_chosen() -> None:
    with spawn(python(STUBBORN, "SIGINT"), stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        child.stop(first=signal.SIGTERM, grace=5)
        assert (child.poll(), child.tail) == (-signal.SIGTERM, "")


@pytest.mark.parametrize("how", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_leaving_the_block_by_any_way_ends_the_program(how: type[BaseException]) -> None:
    with pytest.raises(how), spawn(["sleep", "60"]) as child:
        raise how
    assert not psutil.pid_exists(child.pid), "not even a zombie is left"


def test_no_zombie_and_no_thread_and_no_descriptor_is_left() -> None:
    run(["true"], deadline=20)
    me = psutil.Process()
    before = (me.num_fds(), me.num_threads())
    for _ in range(5):
        run(["cat"], deadline=20, stdin_text="x" * 200_000)
        with pytest.raises(ProcessError):
            run(["sh", "-c", "echo x >&2; sleep 30"], deadline=0.1)
    fds, threads = before
    assert me.num_fds() <= fds and me.num_threads() <= threads, (
        "a thread of an earlier test may end meanwhile"
    )
    assert [child for child in me.children() if child.status() == psutil.STATUS_ZOMBIE] == []


def test_megabytes_flow_both_ways_at_once() -> None:
    text = "0123456789abcdef\n" * 200_000
    assert run(["cat"], deadline=60, stdin_text=text).stdout == text


def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert run(["true"], deadline=20, stdin_text="x" * 1_000_000).returncode == 0


def test_streams_can_be_used_while_the_program_runs() -> None:
    with spawn(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        for word in (b"one\n", b"two\n"):
            child.stdin.write(word)
            child.stdin.flush()
            assert child.stdout.readline() == word
        child.stdin.close()
        child.check(20)
        assert child.stdout.read() == b""


def test_standard_output_can_go_to_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        done = run(["echo", "hello"], deadline=20, stdout=file)
    assert (done.stdout, (tmp_path / "out").read_text()) == ("", "hello\n")


def test_only_the_last_lines_are_kept() -> None:
    done = run(["sh", "-c", "seq 1 100000 >&2"], deadline=30)
    assert done.tail.split("\n") == [str(n) for n in range(100_000 - TAIL_LINES + 1, 100_001)]


def test_endless_output_without_a_line_end_takes_no_memory() -> None:
    code = (
        "from ccobs_ops.core.process import run\n"
        "done = run(['sh', '-c', 'head -c 200000000 /dev/zero >&2; echo end >&2'], deadline=60)\n"
        "assert done.tail.endswith('end'), done.tail[-20:]\n"
        "status = open('/proc/self/status').read()\n"
        "print(status.split('VmHWM:')[1].split()[0])\n"
    )
    used = int(run(python(code), deadline=90, cwd=ROOT, env=environment({"PYTHONPATH": str(ROOT)})).stdout)
    assert used < 100_000, f"{used} KiB"


def test_the_tail_is_redacted_in_the_error_and_the_result() -> None:
    REDACT.add("hunter2-of-the-test")
    said = "echo 'connect with hunter2-of-the-test, password=geheim' >&2; exit"
    with pytest.raises(ProcessError) as caught:
        run(["sh", "-c", f"{said} 1"], deadline=20)
    for told in (caught.value.tail, str(caught.value), run(["sh", "-c", f"{said} 0"], deadline=20).tail):
        assert "hunter2" not in told
        assert "geheim" not in told
        assert f"connect with {MASK}, password={MASK}" in told


def test_a_secret_that_a_long_line_would_cut_in_two_is_not_shown_in_part() -> None:
    secret = "Zq7" * 40
    REDACT.add(secret)
    for padding in (1900, 1950, 1999, 2001):  # the cut falls inside the secret
        done = run(
            ["sh", "-c", f'printf %s%s {secret} "$(head -c {padding} /dev/zero | tr "\\0" x)" >&2'],
            deadline=20,
        )
        assert "q7Z" not in done.tail
        assert done.tail.endswith("x" * 1800)


def test_nothing_of_our_environment_leaks_into_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "leak")
    monkeypatch.setenv("PGPASSWORD", "leak")
    lines = run(["env"], deadline=20).stdout.splitlines()
    assert not [line for line in lines if "leak" in line]
    assert {"TZ=UTC", "LC_ALL=C.UTF-8"} <= set(lines)
    assert "PGPASSWORD=wanted" in run(["env"], deadline=20, env=environment({"PGPASSWORD": "wanted"})).stdout


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProcessError, match="program 'no-such-program-here' was not found") as caught:
        run(["no-such-program-here"], deadline=20)
    assert caught.value.returncode is None
    assert "bin_dir" in caught.value.hint


def test_a_file_that_may_not_be_executed_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    with pytest.raises(ProcessError, match="may not be executed"):
        run([program], deadline=20)


def test_a_file_that_is_no_program_fails(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF rubbish")
    program.chmod(0o755)
    with pytest.raises(ProcessError, match=r"program|setpriv"):
        run([program], deadline=20)


def test_a_working_directory_that_is_gone_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="could not be started: No such file or directory"):
        run(["true"], deadline=20, cwd=tmp_path / "gone")


@needs_root
def test_a_program_runs_as_the_account_asked_for_and_with_none_of_our_groups() -> None:
    nobody = User.named("nobody")
    lines = run(["sh", "-c", "id -u; id -g; id -G; echo $HOME"], deadline=20, user=nobody).stdout.split()
    assert lines == [str(nobody.uid), str(nobody.gid), str(nobody.gid), "/"]


@needs_root
def test_a_program_in_a_closed_folder_cannot_be_run_as_another_account(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o755)
    assert run([program], deadline=20).stdout == "ran\n"
    with pytest.raises(ProcessError, match="Permission denied"):
        run([program], deadline=20, user=User.named("nobody"))


def test_an_account_that_does_not_exist_is_named() -> None:
    with pytest.raises(ProcessError, match="no account 'no-such-account'"):
        User.named("no-such-account")


def test_each_program_leads_its_own_group_and_session() -> None:
    with spawn(["sleep", "60"]) as child:
        assert os.getpgid(child.pid) == os.getsid(child.pid) == child.pid != os.getpgid(0)


def test_a_program_dies_with_us_even_by_kill_9(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from ccobs_ops.core.process import spawn\n"
        "with spawn(['sleep', '60']) as child, spawn(['sleep', '60'], tethered=False) as free:\n"
        "    print(child.pid, free.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    env = environment({"PYTHONPATH": str(ROOT)})
    with spawn(python(code), env=env, stdout=subprocess.PIPE) as parent:
        tied, free = map(int, parent.stdout.readline().split())
        assert eventually(lambda: psutil.Process(tied).name() == "sleep")
        os.kill(parent.pid, signal.SIGKILL)
        try:
            assert eventually(lambda: not alive(tied)), "the child outlived its parent"
            assert alive(free), "this one is not tied to us, so the test above shows something"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(free, signal.SIGKILL)


def test_waiting_can_watch_something_else() -> None:
    looks: list[float] = []
    run(["sleep", "0.5"], deadline=20, on_wait=lambda: looks.append(time.monotonic()))
    assert len(looks) >= 2


def test_the_deadline_holds_while_watching() -> None:
    with pytest.raises(ProcessError, match="still running"):
        run(["sleep", "60"], deadline=0.5, on_wait=lambda: None)


def test_the_tail_can_be_read_while_it_is_written() -> None:
    """`tail` of a running program can be read at any time, also while it is being written."""
    with spawn(["sh", "-c", "while :; do echo line of some length here >&2; done"]) as child:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert child.tail.count("\n") < TAIL_LINES
        assert "line of some length here" in child.tail


BUSY_WITH_GRPC = """
import threading, grpc
from ccobs_ops.core.process import User, launch
def ask():
    while not done:
        with grpc.insecure_channel("127.0.0.1:9") as channel:
            try:
                channel.unary_unary("/a/b")(b"", timeout=0.2)
            except grpc.RpcError:
                pass
done = False
threads = [threading.Thread(target=ask) for _ in range(6)]
for thread in threads:
    thread.start()
nobody = User.named("nobody")
print(sum(launch(["true"], user=nobody, tethered=number % 2 == 0).wait() != 0 for number in range(60)))
done = True
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts programs as another account")
def test_starting_as_another_account_runs_no_fork_handlers() -> None:
    """Those of gRPC, on by default and loaded by Dagster, crash one child in ten, and sometimes us."""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    done = subprocess.run(
        [sys.executable, "-c", BUSY_WITH_GRPC],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr[-2000:]
