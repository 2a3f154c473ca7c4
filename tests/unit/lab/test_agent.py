"""The agent's protocol: what is sent is one line, what comes back is found again in any stream."""

import base64
import os
import subprocess
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmon.core.errors import LabError, TargetGone
from vmon.lab.agent import AgentChannel, AnswerParser, Completed, encode_ping, encode_run
from vmon.lab.kernels import fetch_busybox


def answer(request_id: str, status: int, out: bytes, err: bytes) -> bytes:
    return f"\nVMON {request_id} {status} {len(out)} {len(err)}\n".encode() + out + err


def feed(parser: AnswerParser, data: bytes, step: int) -> Completed | None:
    for at in range(0, len(data), step):
        found = parser.feed(data[at : at + step])
        if found is not None:
            return found
    return None


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 255), st.integers(1, 40))
def test_an_answer_comes_whole_in_any_pieces(out, err, status, step):
    assert feed(AnswerParser("id1"), answer("id1", status, out, err), step) == Completed(status, out, err)


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(1, 40), st.data())
def test_remains_of_a_dead_client_are_skipped(old, out, step, data):
    whole = answer("old", 0, old * 3, b"")
    cut = data.draw(st.integers(0, len(whole)))
    stream = whole[:cut] + answer("other", 1, b"\nVMON", b"") + answer("new", 5, out, b"e")
    assert feed(AnswerParser("new"), stream, step) == Completed(5, out, b"e")


def test_an_answer_of_another_is_never_taken():
    assert AnswerParser("a").feed(answer("b", 0, b"x", b"")) is None


def test_a_mark_in_the_output_itself_does_no_harm():
    out = answer("id", 0, b"fake", b"") * 3
    assert AnswerParser("id").feed(answer("id", 2, out, b"")) == Completed(2, out, b"")


@pytest.mark.parametrize(
    "stream",
    [b"\nVMON id " + b"9" * 100, b"\nVMON id x y z" + b" " * 100, b"\nVMON id 0 9999999999999 1\n"],
)
def test_lying_headers_end_in_an_error(stream):
    with pytest.raises(LabError):
        AnswerParser("id").feed(stream)


def test_what_it_skips_is_not_kept():
    parser = AnswerParser("id")
    for _ in range(100):
        parser.feed(os.urandom(1000).replace(b"VMON", b"vmon"))
    assert len(parser._data) < 100


# The shell of the guest is the judge of the quoting.
@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60).filter(lambda data: b"\0" not in data))
def test_a_command_arrives_as_it_was(command):
    line = encode_run("id", command, b"stdin").strip(b"\n")
    assert b"\n" not in line
    assert line.endswith(b"%")
    assert line.count(b"%") == 1
    verb, request_id, given_stdin, rest = line.split(b" ", 3)
    assert (verb, request_id, base64.b64decode(given_stdin)) == (b"RUN", b"id", b"stdin")
    script = b"eval command=" + rest.removesuffix(b" %").replace(b"'", b"'\\''").join([b"'", b"'"])
    done = subprocess.run(
        [fetch_busybox(), "sh", "-c", script + b'; printf %s "$command"'], capture_output=True, check=True
    )
    assert done.stdout == command


def test_a_nul_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        encode_run("id", b"a\0b")


class FakeGuest(threading.Thread):
    """Reads requests from the FIFOs as QEMU would, answers by a function."""

    def __init__(self, folder, reply):
        super().__init__(daemon=True)
        for end in ("in", "out"):
            os.mkfifo(folder / f"agent.{end}")
        self.input = os.open(folder / "agent.in", os.O_RDWR)
        self.output = os.open(folder / "agent.out", os.O_RDWR)
        self.reply = reply
        self.seen: list[bytes] = []

    def run(self):
        with open(self.input, "rb", closefd=False) as lines:
            for line in lines:
                if line != b"\n":
                    self.seen.append(line)
                    os.write(self.output, self.reply(line))


def plain(line: bytes) -> bytes:
    verb, request_id = line.split(b" ")[:2]
    return answer(request_id.decode(), 0, b"" if verb == b"PING" else b"out", b"")


def test_a_run_through_the_pipes(tmp_path):
    FakeGuest(tmp_path, plain).start()
    channel = AgentChannel(tmp_path)
    assert channel.run(b"true", b"", 5) == Completed(0, b"out", b"")
    assert channel.run(b"true", b"x" * 200_000, 5).out == b"out"


def test_the_rest_of_an_abandoned_answer_in_the_pipe(tmp_path):
    guest = FakeGuest(tmp_path, plain)
    os.write(guest.output, b"half an answer \nVMON 0123")
    guest.start()
    assert AgentChannel(tmp_path).run(b"true", b"", 5).out == b"out"


def test_a_lost_ping_is_sent_again(tmp_path):
    guest = FakeGuest(tmp_path, lambda line: plain(line) if len(guest.seen) > 1 else b"")
    guest.start()
    start = time.monotonic()
    AgentChannel(tmp_path).ping(10)
    assert 0.9 < time.monotonic() - start < 3


def test_a_command_that_takes_too_long_is_ended(tmp_path):
    guest = FakeGuest(tmp_path, lambda line: plain(line) if line.startswith(b"PING") else b"")
    guest.start()
    with pytest.raises(LabError, match=r"did not end within 0\.3 s"):
        AgentChannel(tmp_path).run(b"sleep 9", b"", 0.3)
    time.sleep(0.1)
    assert [line[:4] for line in guest.seen] == [b"PING", b"RUN ", b"PING"]


def test_a_guest_that_is_gone(tmp_path):
    with pytest.raises(TargetGone):
        AgentChannel(tmp_path).ping(1)
    FakeGuest(tmp_path, lambda _: b"")
    with pytest.raises(TargetGone):
        AgentChannel(tmp_path, lambda: False).ping(1)


def test_two_clients_take_turns(tmp_path):
    FakeGuest(tmp_path, plain).start()
    results: list[Completed] = []

    def work():
        channel = AgentChannel(tmp_path)
        results.extend(channel.run(b"true", b"", 20) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [Completed(0, b"out", b"")] * 80


def test_ping_is_one_line():
    assert encode_ping("id") == b"\nPING id %\n"
