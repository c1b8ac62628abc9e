"""The last lines of an error, as they leave this machine."""

import base64
import sys
import time
from pathlib import Path
from types import CodeType
from urllib.parse import quote, quote_plus

import pytest

import ray_synapse
from ray_synapse import start
from ray_synapse.backend.local import LocalBackend
from ray_synapse.errors import SettingsError
from ray_synapse.last_lines import (
    MAX_CHARS,
    MAX_LINE_CHARS,
    MAX_LINES,
    first_line,
    last_lines,
    without_secrets,
)

LONG = "s3cr3t-value/of a token"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nabcdefgh12345678\nqrst==\n-----END RSA PRIVATE KEY-----"
MEGABYTE = 1_000_000
NEAR = "tests/test_last_lines.py"


def raised(text: str, cause: BaseException | None = None) -> BaseException:
    def fails() -> None:
        raise ValueError(text) from cause

    try:
        fails()
    except ValueError as error:
        return error
    raise AssertionError


def raised_in(*paths: str) -> BaseException:
    """An error from code that says that it stands in these files, the last calls the first."""
    code = "raise ValueError('boom')"
    scope: dict[str, object] = {}
    for path in reversed(paths):
        compiled: CodeType = compile(f"def step():\n    {code}", path, "exec")
        scope = {"inner": scope.get("step")}
        exec(compiled, scope)
        code = "inner()"
    try:
        scope["step"]()  # type: ignore[operator]  # it was just defined
    except ValueError as error:
        return error
    raise AssertionError


class RayTaskError(ValueError):
    """As Ray makes it of what a trial raised: its text is the traceback in the trial."""

    cause = ValueError("boom")

    def as_instanceof_cause(self) -> "RayTaskError":
        return self


IN_A_TRIAL = """\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=13781, ip=192.0.2.2, repr=train)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3/site-packages/ray/tune/trainable/trainable.py", line 329, in train
    raise skipped from exception_cause(skipped)
  File "python/ray/_raylet.pyx", line 1883, in ray._raylet.execute_task
  File "/usr/lib/python3/site-packages/ray_synapse/trial/trainable.py", line 30, in call
    return function(config)
  File "/home/user/train.py", line 18, in train
    raise ValueError("boom")
ValueError: boom"""


# Which lines


def test_they_name_the_place_and_the_error() -> None:
    lines = last_lines(raised("no such layer"), []).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any(NEAR in line and line.endswith("in fails") for line in lines)
    assert lines[-1] == "ValueError: no such layer"


def test_the_cause_is_there_too() -> None:
    text = last_lines(raised("second", raised("first")), [])
    assert text.index("ValueError: first") < text.index("ValueError: second")


def test_an_error_that_nobody_raised_is_its_own_line() -> None:
    assert last_lines(ValueError("x"), []) == first_line(ValueError("x"), []) == "ValueError: x"


def test_long_ones_are_cut_at_their_beginning_and_say_how_much() -> None:
    lines = last_lines(raised("\n".join(map(str, range(1000)))), []).splitlines()
    assert lines[-1] == "999"
    assert len(lines) == MAX_LINES
    left_out = len(last_lines(raised("0"), []).splitlines()) + 999 - (MAX_LINES - 1)
    assert lines[0] == f"... ({left_out:,} lines left out)"


def test_a_wide_line_keeps_its_begin_and_its_end() -> None:
    text = last_lines(raised("x" * 50_000 + " at the end"), [])
    line = text.splitlines()[-1]
    assert line.startswith("ValueError: xxx")
    assert line.endswith("x at the end")
    assert "characters left out" in line
    assert len(line) <= MAX_LINE_CHARS


def test_they_are_never_more_than_a_message_holds() -> None:
    for message in ("x" * 5_000_000, "x y\n" * 1_000_000, f"{'w' * 900}\n" * 30):
        text = last_lines(raised(message), [])
        assert len(text) <= MAX_CHARS
        assert len(text.splitlines()) <= MAX_LINES


def test_the_lines_of_a_huge_text_are_all_counted() -> None:
    note = last_lines(raised("x\n" * 1_000_000), []).splitlines()[0]
    assert int(note.split("(")[1].split()[0].replace(",", "")) > 999_900


def test_our_own_frames_are_left_out() -> None:
    with pytest.raises(SettingsError) as caught:
        ray_synapse.encode_name("")
    text = last_lines(caught.value, [])
    assert NEAR in text
    assert "names.py" not in text


def test_the_frames_of_ray_are_left_out_with_their_code(tmp_path: Path) -> None:
    theirs = "/opt/lib/python3.11/site-packages/ray/tune/tuner.py"
    text = last_lines(raised_in(str(tmp_path / "mine.py"), theirs, "python/ray/_raylet.pyx"), [])
    assert "mine.py" in text
    assert "site-packages" not in text
    assert "_raylet" not in text


def test_where_nothing_would_be_left_the_frames_stay() -> None:
    error = raised_in("/opt/lib/site-packages/ray/tune/tuner.py")
    assert error.__traceback__ is not None
    text = last_lines(error.with_traceback(error.__traceback__.tb_next), [])
    assert "ray/tune/tuner.py" in text
    assert text.endswith("ValueError: boom")


def test_a_folder_of_the_user_that_is_called_ray_is_no_frame_of_ray() -> None:
    assert "/home/ray/train.py" in last_lines(raised_in("/home/ray/train.py"), [])


def test_of_an_error_from_a_trial_it_is_the_traceback_there() -> None:
    assert last_lines(RayTaskError(IN_A_TRIAL), []).splitlines() == [
        "ray::ImplicitFunc.train() (pid=13781, ip=192.0.2.2, repr=train)",
        '  File "/home/user/train.py", line 18, in train',
        '    raise ValueError("boom")',
        "ValueError: boom",
    ]
    assert first_line(RayTaskError(IN_A_TRIAL), []) == "ValueError: boom"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has none before 3.11")
def test_a_group_shows_its_errors_without_the_frames_of_ray() -> None:
    theirs = raised_in("/home/user/train.py", "/opt/lib/site-packages/ray/tune/tuner.py")
    group = ExceptionGroup("several", [theirs, raised("second")])  # type: ignore[name-defined,unused-ignore]  # noqa: F821
    text = last_lines(group, [])
    assert "ValueError: boom" in text
    assert "ValueError: second" in text
    assert "/home/user/train.py" in text
    assert "tuner.py" not in text


def test_no_error_is_too_odd() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Odder(Exception):
        def __getattr__(self, name: str) -> str:
            raise RuntimeError

    deep = ValueError()
    for _ in range(2_000):
        deep = raised("x", deep)  # type: ignore[assignment]
    odd = (Odd(), Odder("x"), raised("\ud800 half"), ValueError(), KeyboardInterrupt(), deep)
    for error in odd:
        for text in (last_lines(error, []), first_line(error, [LONG])):
            assert type(error).__name__ in text
            text.encode()


def test_a_code_that_cannot_be_compiled_is_shown() -> None:
    with pytest.raises(SyntaxError) as caught:
        compile("x = = 1", "job.py", "exec")
    text = last_lines(caught.value, [])
    assert 'File "job.py", line 1' in text
    assert text.endswith("SyntaxError: invalid syntax")


def test_the_first_line_is_one_line() -> None:
    assert first_line(raised("one\ntwo\x1b[31m\x07"), []) == "ValueError: one"
    assert first_line(raised(f"the token {LONG}\x07 is wrong"), [LONG]) == (
        "ValueError: the token *** is wrong"
    )
    assert len(first_line(raised("x" * MEGABYTE), [])) <= MAX_LINE_CHARS


# What steers a terminal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m and \x1b]0;title\x07plain", "red and plain"),
        ("\x1b]8;;http://x/\x1b\\link\x1b]8;;\x1b\\ \x9b1;2Hc \x1bPq#1\x1b\\d\x1b(B", "link c d"),
        ("\x1b]0;without an end\nnext", "\nnext"),
        ("a\x00b\x07c\r\nd\te\rf\x7f\x85", "abc\nd\tef"),
        ("right \u202eto\u2066 left\u200b, \ufeffzero", "right to left, zero"),
        ("half \ud800 of one, 1\u00a0000", "half  of one, 1 000"),
        ("Grüße, 日本語, 🙂", "Grüße, 日本語, 🙂"),
    ],
)
def test_nothing_in_them_steers_a_terminal(text: str, expected: str) -> None:
    assert without_secrets(text, []) == expected


# Secrets


@pytest.mark.parametrize(
    "form",
    [
        LONG,
        quote(LONG),
        quote(LONG, safe=""),
        quote_plus(LONG),
        base64.b64encode(LONG.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(LONG.encode()).decode().rstrip("="),
    ],
)
def test_a_given_secret_is_hidden_in_each_of_its_forms(form: str) -> None:
    assert without_secrets(f"<{form}>", ["another", LONG, "s3cr3t"]) == "<***>"


def test_a_given_secret_is_hidden_also_where_characters_that_are_not_seen_part_it() -> None:
    assert without_secrets("hun\u200bter2\x1b[0mhunter2", ["hunter2hunter2"]) == "***"


def test_a_given_secret_of_several_lines_is_hidden_in_the_code_and_in_a_repr() -> None:
    secret = "line one\r\nline 'two'"
    assert without_secrets(f"a line one\nline 'two' b {secret.splitlines()}", [secret]) == (
        "a *** b ['line one', \"line 'two'\"]"
    )
    assert "one" not in without_secrets(repr({"x": secret.replace("\r", "")}), [secret])


def test_what_is_too_short_for_a_secret_stays() -> None:
    assert without_secrets("a token of five", ["token", ""]) == "a token of five"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:hunter2@example.com/data", "https://user:***@example.com/data"),
        ("postgres://u:p@ss:w@db:5432/x?y", "postgres://u:***@db:5432/x?y"),
        ("Authorization: Token abcdefgh", "Authorization: ***"),
        ("Authorization: Basic dXNlcjpwYXNz was refused", "Authorization: *** was refused"),
        ("{'Authorization': 'Bearer abc def'}", "{'Authorization': '***'}"),
        ("Synapse-Access-Token: Token abcdef12345678", "Synapse-Access-Token: Token ***"),
        ("a Bearer eyJhbGciOiJI.eyJzd1.x_-y was", "a Bearer *** was"),
        ("password=hunter and more", "password=*** and more"),
        ("PGPASSWORD='hun ter' psql", "PGPASSWORD='***' psql"),
        ("db_password: hunter", "db_password: ***"),
        ("  passwd : hunter2 (was)", "  passwd : *** (was)"),
        ('{"db_password": "hun\\"ter", "x": 1}', '{"db_password": "***", "x": 1}'),
        ("{'secret': b'hunter'}", "{'secret': b'***'}"),
        ('"{\\"client_secret\\": \\"hunter\\"}"', '"{\\"client_secret\\": \\"***\\"}"'),
        ('{"password": 123456}', '{"password": ***'),
        ('private_key="""hunter\n"""', 'private_key="""***\n"""'),
        ("password='never closed\nnext", "password='***\nnext"),
        ("OPENAI_API_KEY=abcdefgh, x-api-key: abcd1234", "OPENAI_API_KEY=***, x-api-key: ***"),
        ("aws_secret_access_key = abc/def", "aws_secret_access_key = ***"),
        ("?token=abcdefgh&page=2", "?token=***&page=2"),
        ("access_token: abcdefgh12345678", "access_token: ***"),
        ("token:x,password=hunter", "token:x,password=***"),
        ('login(token="<a", password="b")', 'login(token="<a", password="***")'),
        ("the key AKIAABCDEFGHIJKLMNOP.", "the key ***."),
        (f"a {KEY} b", "a *** b"),
        (f"two {KEY}, {KEY.replace('RSA ', '')}", "two ***, ***"),
        (repr(KEY), "'***'"),
        (f"{KEY[:48]}\nthen it failed", "***\nthen it failed"),
    ],
)
def test_a_secret_is_hidden_by_how_it_looks(text: str, expected: str) -> None:
    assert without_secrets(text, []) == expected
    assert without_secrets(expected, []) == expected


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'token'",
        "KeyError: 'api_key'",
        "token count: 5",
        "token: 5 of 7",
        "Unexpected token: identifier",
        "Token embeddings were loaded from token /data/run1/vocab.txt",
        "eos_token='</s>', pad_token=\"[PAD]\", max_tokens=100000, num_token=100000",
        "the tokenizer has no token for 7",
        "def login(password: str, token: str | None = None, secret=None) -> None:",
        "Invalid password: must be at least 8 characters long",
        "kubernetes secret: my-registry does not exist",
        "if token == expected or password != other:",
        'File "/home/user/secret/token/plugin.py", line 3, in train',
        "TypeError: train() got an unexpected keyword argument 'secret'",
        "http://127.0.0.1:8470/jobs/3/?page=2",
        "see http://host:80/ and mail me@example.com",
        "expected 3 tokens, got 5",
        "-----BEGIN CERTIFICATE-----\nabcdefgh12345678\n-----END CERTIFICATE-----",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert without_secrets(text, ["short"]) == text


def test_a_secret_in_the_code_of_a_traceback_is_hidden() -> None:
    password = "hunter2-hunter2"
    try:
        raise RuntimeError(f"no login with password={password}")
    except RuntimeError as error:
        text = last_lines(error, [])
    assert "hunter2" not in text
    assert "no login with password=***" in text


@pytest.mark.parametrize("is_raised", [True, False])
def test_the_job_of_a_script_that_failed_has_them(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, is_raised: bool
) -> None:
    monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", LONG)
    run = ray_synapse.init("failed", backend="local")
    text = f"the token {LONG}\x1b[31m is wrong"
    start.close(run, raised(text) if is_raised else ValueError(text))
    told = [each["data"]["content"] for each in backend.logs(run.job_id, "message")][-1]
    first, *rest = told.splitlines()
    assert first == "The script ended with ValueError: the token *** is wrong"
    assert rest[-1:] == (["ValueError: the token *** is wrong"] if is_raised else [])
    assert any("in fails" in line for line in rest) is is_raised


ADVERSARIAL = (
    *("token", "token ", "://a:", "\x1b[", "\x1b]0;", "-", "a", "\\", "token:a", "Bearer a1"),
    *("password='", 'password="a\\', "token='[token=\"[", 'secret=\\\\\\\\"', "password: "),
    *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "AKIA", "authorization: token "),
)


@pytest.mark.parametrize("part", ADVERSARIAL)
def test_a_megabyte_is_read_at_once(part: str) -> None:
    text = part * (MEGABYTE // len(part))
    begun = time.process_time()
    assert len(without_secrets(text, [LONG])) <= 2 * len(text)
    assert time.process_time() - begun < 5  # it takes half a second; what is quadratic, hours
