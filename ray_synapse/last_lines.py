"""The last lines of an error, for a message: no secrets, and nothing that steers a terminal."""

import base64
import re
import sys
import traceback
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus

from ray_synapse.formats import error_line
from ray_synapse.settings import MIN_SECRET_CHARS

MAX_LINES = 20  # the error and the calls that led to it, on a screen
MAX_CHARS = 4_000  # 20 lines of code with their paths
MAX_LINE_CHARS = 1_000  # of one line: more is a dump of data; what it is stands at its begin
KEPT_END_CHARS = 200  # of a longer line, after its begin
MAX_READ_CHARS = 200_000  # of an error's text, half from each end: some hold a whole tensor
MAX_NESTED_CHARS = 200  # of a value that stays, and is looked into: each is read again
NOTE_CHARS = 40  # of the line that says how much was left out
HIDDEN = "***"

# Escape sequences that steer a terminal: CSI, then those with a text (OSC and its like), the rest.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_FRAME = re.compile(r'^( *(?:\| +)?)File "([^"]*)", line \d+, in ')  # also in an exception group
_CARETS = re.compile(r"^ *[~^][ ~^]*$")
_HEADER = "Traceback (most recent call last):"
_RAY_FRAME = re.compile(r"^python/ray/|/(?:site|dist)-packages/(?:ray|ray_synapse)/")

_KEY_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")
_KEY_LINES = re.compile(r"(?:(?:\\n|\s)*[A-Za-z0-9+/=]{16,})*")  # of a key that was cut off
_USER_INFO = re.compile(r"""(://[^\s/?#:@"'<>]*:)[^\s/?#"'<>]+@""")
_AWS_KEY = re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])")
_SCHEME = re.compile(r"(?i)\b((?:token|bearer)[ \t]+)(?!~|\.{0,2}/)([\w.~+/=-]{8,})")  # no path
_NAMED = re.compile(
    r"""(?ix) (?P<name> pass(?:word|wd|phrase) | secret(?:[_-]?(?:access[_-]?)?key)?
                      | (?:api|access|private)[_-]?key | token | authorization )
    (?P<closing> \\{0,4}["'] )? [ \t]{0,20} (?P<sign> =>|[:=](?!=) ) [ \t]{0,20}
    (?: [bru]{0,2} (?P<quote> \"""|'''|\\{0,4}["'] ) )? """
)
_QUOTED = {each: re.compile(rf"[^{each}\\\n]*(?:\\.[^{each}\\\n]*)*") for each in ('"', "'")}
_BARE = re.compile(r"""[^\s"',;&]*""")
_CREDENTIALS = re.compile(r"""(?i)(?:(?:token|bearer|basic|digest|apikey)[ \t]+)?[^\s"',;]*""")
_END_OF_LINE = re.compile(r"[ \t.,;!)\]}]*(?:\n|$)")
_NO_VALUES = ("", "None", "null", "True", "False", "true", "false", HIDDEN)


def last_lines(error: BaseException, secrets: Iterable[str]) -> str:
    """The last lines of an error's traceback, with those of its causes. Never raises.

    The calls of Ray and of this package are left out where others remain. Of an error from a trial
    it is the traceback there.

    Args:
        error: The error.
        secrets: What must not be in it, such as ``settings.secrets()``; see ``without_secrets``.

    Returns:
        At most 20 lines and 4,000 characters. If there were more, the first line says how many.
    """
    try:
        text = _traceback(error).strip("\n")
        read = _shortened(text)
        lines = _without_frames(without_secrets(read, secrets).split("\n"))
        return _cut(lines, unread=text.count("\n") - read.count("\n"))
    except Exception:  # whatever the error does when it is looked at
        return type(error).__name__


def first_line(error: object, secrets: Iterable[str]) -> str:
    """The type of an error and the first line of what it says, likewise. Never raises."""
    try:
        return _cut_line(without_secrets(_shortened(error_line(error)), secrets).strip())
    except Exception:  # likewise
        return type(error).__name__


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """A text with ``***`` in place of secrets, and without what would steer a terminal.

    Besides the given ones it finds passwords in URLs, ``Authorization`` headers and tokens,
    values of names such as ``password`` and ``api_key``, AWS keys and PEM private keys.

    Args:
        text: Any text.
        secrets: The known secrets, of 6 or more characters each: they are found as they are, and
            encoded for a URL or in base64.
    """
    text = _plain(text)
    forms = {form for each in secrets for form in _forms(_plain(each))}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    text = _without_keys(text)
    text = _USER_INFO.sub(rf"\1{HIDDEN}@", text)
    text = _AWS_KEY.sub(HIDDEN, text)
    text = _without_values(text)
    return _SCHEME.sub(lambda found: found[1] + HIDDEN if _is_random(found[2]) else found[0], text)


def _forms(secret: str) -> Iterable[str]:
    if len(secret) < MIN_SECRET_CHARS:
        return
    raw = secret.encode("utf-8", "replace")
    yield from (secret, repr(secret)[1:-1], quote(raw), quote(raw, safe=""), quote_plus(raw))
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        yield encoded.decode().rstrip("=")


def _without_keys(text: str) -> str:
    """Without PEM private keys, also one whose end is missing."""
    parts, at, has_end = [], 0, True
    for begin in _KEY_BEGIN.finditer(text):
        if begin.start() < at:
            continue
        end = _KEY_END.search(text, begin.end()) if has_end else None
        has_end = end is not None
        parts += [text[at : begin.start()], HIDDEN]
        at = (end or _KEY_LINES.match(text, begin.end()) or begin).end()
    return "".join([*parts, text[at:]])


def _without_values(text: str) -> str:
    """Without the values of names that say that they are secret: ``name=value``, also quoted."""
    parts, at, done, line_end = [], 0, 0, -1
    while found := _NAMED.search(text, at):
        start, mark = found.end(), found["quote"]
        if line_end < start:
            line_end = text.find("\n", start)
            line_end = len(text) if line_end < 0 else line_end
        if mark in _QUOTED:
            at = _end_of(_QUOTED[mark], text, start)
        elif mark:
            closing = text.find(mark, start, line_end)
            at = line_end if closing < 0 else closing
        else:
            is_header = found["name"].lower() == "authorization"
            at = _end_of(_CREDENTIALS if is_header else _BARE, text, start)
        if _is_value(found, text[start:at], _END_OF_LINE.match(text, at) is not None):
            parts += [text[done:start], HIDDEN]
            done = at
        elif at - start < MAX_NESTED_CHARS:
            at = start
    return "".join([*parts, text[done:]])


def _is_value(found: re.Match[str], value: str, ends_line: bool) -> bool:
    """Whether this is a secret, and not prose: ``password: must be longer``, ``token: 5``."""
    if value.rstrip(")]}") in _NO_VALUES:
        return False
    is_assigned = bool(found["quote"] or found["closing"] or found["sign"] != ":")
    if found["name"].lower() == "token":  # of a text, more often than of a server
        if not is_assigned:
            return _is_random(value)
        return len(value) >= MIN_SECRET_CHARS and not value.isdigit() and value[0] not in "<[{("
    return is_assigned or ends_line or " " in value or _is_random(value)  # "Token abc"


def _is_random(value: str) -> bool:
    """Whether it looks like no word and no number."""
    has_digit = any(each.isdigit() for each in value)
    has_letter = any(each.isalpha() for each in value)
    return len(value) >= MIN_SECRET_CHARS and has_digit and has_letter


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    return found.end() if (found := pattern.match(text, start)) else start


def _plain(text: str) -> str:
    """Without escape sequences and all that cannot be printed; line breaks and tabs stay."""
    text = _ESCAPE.sub("", text.replace("\r\n", "\n"))
    return "".join(each if each.isprintable() or each in "\n\t" else _space(each) for each in text)


def _space(each: str) -> str:
    return " " if unicodedata.category(each) == "Zs" else ""  # one that does not break, for one


def _traceback(error: BaseException) -> str:
    if hasattr(error, "as_instanceof_cause"):  # a RayTaskError: its text is the one of the trial
        return str(error)
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def _shortened(text: str) -> str:
    """Begin and end of a huge text, cut between words: half a secret would not be found."""
    if len(text) <= MAX_READ_CHARS:
        return text
    half = MAX_READ_CHARS // 2
    *head, _ = text[:half].rsplit(None, 1)
    _, *tail = text[-half:].split(None, 1)
    return _joined("".join(head), "".join(tail), len(text))


def _without_frames(lines: list[str]) -> list[str]:
    """Without the frames of Ray and of this package, unless there are no others."""
    kept: list[str] = []
    inside: str | None = None  # what each line of the frame begins with
    is_left_out, frames = False, 0
    for line in lines:
        found = _FRAME.match(line)
        if found:
            inside, is_left_out = found[1], _is_foreign(found[2])
            frames += not is_left_out
        elif inside is None or not line.startswith((f"{inside}  ", f"{inside}[Previous line")):
            inside, is_left_out = None, False
        if not is_left_out and (inside is not None or not _CARETS.match(line)):
            kept.append(line)
    if not frames:
        return lines
    pairs = zip(kept, [*kept[1:], ""], strict=True)
    return [line for line, after in pairs if line != _HEADER or after.startswith("  ")]


def _is_foreign(path: str) -> bool:
    folders = [Path(__file__).parent, *getattr(sys.modules.get("ray"), "__path__", ())]
    return path.startswith(tuple(f"{each}/" for each in folders)) or bool(_RAY_FRAME.search(path))


def _cut(lines: list[str], unread: int) -> str:
    lines = [_cut_line(each) for each in lines]
    whole = "\n".join(lines)
    if len(lines) <= MAX_LINES and len(whole) <= MAX_CHARS:
        return whole
    size, count = NOTE_CHARS, 0
    while count < MAX_LINES - 1 and size + len(lines[-1 - count]) < MAX_CHARS:
        size += len(lines[-1 - count]) + 1
        count += 1
    left_out = len(lines) - count + unread
    note = f"... ({left_out:,} line{'' if left_out == 1 else 's'} left out)"
    return "\n".join([note, *lines[len(lines) - count :]])


def _cut_line(line: str) -> str:
    if len(line) <= MAX_LINE_CHARS:
        return line
    begin, end = line[: MAX_LINE_CHARS - KEPT_END_CHARS - NOTE_CHARS], line[-KEPT_END_CHARS:]
    return _joined(begin, end, len(line))


def _joined(begin: str, end: str, chars: int) -> str:
    return f"{begin} ... ({chars - len(begin) - len(end):,} characters left out) ... {end}"
