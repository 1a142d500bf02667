"""What is reported when settings are invalid: every problem at once, one line each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from host.settings.toml_values import write

MASK = "**********"

# Most starts show nothing, and compile none of these (a millisecond each).
_SECRET_NAME = (
    r"password|passwd|(?<![a-z])pwd|passphrase|secret|credential|token|(?<![a-z])keys?(?![a-z])"
)
# RFC 3986, 3.2.1: what follows the first colon of userinfo. A password that is not encoded may hold
# any of / ? # @, and then the address is invalid, so it is shown: all until the last @ counts.
_USERINFO = r"(?<=://)([^:/?#@\s]*):(\S*)@"
# A name is looked for where a word begins, and as a whole: a long text takes linear time so.
_PARAMETER = r"""(?<![\w.-])([\w.-]++)(\s*+=\s*)('[^']*'|"[^"]*"|[^&;,\s'"]+)"""
_LONGEST_SHOWN = 60


class Problem(NamedTuple):
    """One thing that is wrong with the settings.

    Attributes:
        key: The dotted key, such as `limits.max_events`, or the path of an unreadable file.
        found: The value as it would be written in the file, masked if secret; "" for none.
        message: What was expected, and the nearest valid name where there is one.
        where: Where the value came from, such as `from host.toml:17`; "" when from nowhere.
    """

    key: str
    found: str
    message: str
    where: str


class SettingsError(Exception):
    """The operator's settings are invalid.

    Attributes:
        problems: All that is wrong, each thing once.
        subject: What is invalid, in the plural.
        selected: The plugins that are selected all the same.
    """

    def __init__(
        self,
        problems: Iterable[Problem],
        subject: str = "settings",
        selected: tuple[str, ...] = (),
    ) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        self.subject, self.selected = subject, selected
        super().__init__(self.problems, subject)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.subject} are invalid ({count} problem{'' if count == 1 else 's'})"
        key_width = max((len(p.key) for p in self.problems if p.found), default=0)
        lefts = [f"{p.key:<{key_width}} = {p.found}" if p.found else p.key for p in self.problems]
        left_width = max(map(len, lefts), default=0)
        message_width = max((len(p.message) for p in self.problems), default=0)
        lines = (
            f"  {left:<{left_width}}  {problem.message:<{message_width}}  {problem.where}".rstrip()
            for left, problem in zip(lefts, self.problems, strict=True)
        )
        return "\n".join((head, *lines))


def is_secret_name(name: str) -> bool:
    """Tell whether a key of this name is likely to hold a secret, such as `api_key`."""
    return re.search(_SECRET_NAME, name, re.IGNORECASE) is not None


def mask_passwords(text: str) -> str:
    """Return a text with the passwords in its addresses masked.

    Those are `scheme://user:PASSWORD@host`, and parameters as in `?password=...` or `password=...`
    (libpq) whose names are likely to be those of secrets.
    """
    text = re.sub(_USERINFO, rf"\1:{MASK}@", text)
    return re.sub(_PARAMETER, _masked, text)


def _masked(found: re.Match[str]) -> str:
    name, equals, _ = found.groups()
    return f"{name}{equals}{MASK}" if is_secret_name(name) else found.group()


def passwords_in(text: str) -> list[str]:
    """Return the passwords that `mask_passwords` would mask."""
    parameters = re.findall(_PARAMETER, text)
    return [
        *(password for _, password in re.findall(_USERINFO, text)),
        *(value.strip("'\"") for name, _, value in parameters if is_secret_name(name)),
    ]


def show(value: object, longest: int | None = _LONGEST_SHOWN) -> str:
    """Return `value` as it would be written in the file, in at most `longest` characters.

    The inside of a table is never shown: it may hold a secret whose name says nothing here. Nor are
    passwords in addresses.
    """
    match value:
        case dict():
            text = "{...}" if value else "{}"
        case list() | tuple():
            text = f"[{', '.join(show(item, longest) for item in value)}]"
        case _:
            text = mask_passwords(write(value))
    return text if longest is None or len(text) <= longest else f"{text[: longest - 3]}..."
