"""The section `process`: the user that a host becomes, and what it keeps as that user."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from host.settings.section import Section
from host.settings.toml_values import write
from host.settings.validators import as_tuple

ACCOUNT = r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?)?$"
"""What the name or the number of a user or a group looks like (useradd(8)); "" is none."""


FIXED = ("user", "group", "keep")
"""Keys that only a restart changes: who has given up root cannot become anybody else."""


class Process(Section):
    """The user that a host becomes once it has opened what only root may open."""

    user: str = Field(
        default="",
        pattern=ACCOUNT,
        examples=["nobody"],
        description="User that a host started by root becomes, by name or number, before it loads"
        " plugins; no process of it is root's then. Empty by default: it stays who started it, as"
        " is right under a service manager that has started it as that user.",
    )
    group: str = Field(
        default="",
        pattern=ACCOUNT,
        examples=["nogroup"],
        description="Its group, by name or number. Empty by default: that of the user in the user"
        " database. The user's other groups are taken on in any case.",
    )
    umask: str = Field(
        default="",
        pattern=r"^([0-7]{3,4})?$",
        examples=["0027"],
        description="Permissions that files made by host and plugins do not get, as umask(1)"
        ' has them: "0027". Empty by default: they are as when the host was started. Socket files'
        " have `listen.mode`.",
    )
    keep: Annotated[tuple[Literal["bind"], ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        examples=[["bind"]],
        description='What it may still do as that user: "bind" is CAP_NET_BIND_SERVICE, by which a'
        " reload can add ports below 1024. Workers lose it as they start. Nothing by default: also"
        " schedulers run in the process that has it.",
    )

    @model_validator(mode="after")
    def _check_user(self) -> Self:
        if not self.user and (self.group or self.keep):
            key = "group" if self.group else "keep"
            raise ValueError(f'{key} says nothing without user, such as user = "nobody"')
        return self

    def change_since(self, before: Self) -> str:
        """Return why a host that runs with `before` cannot go on with this, or "".

        Once root is given up nobody else can be had; and who is root still has workers that are.
        """
        changes = [
            f"process.{key} changes from {write(was)} to {write(now)}"
            for key in FIXED
            if (was := getattr(before, key)) != (now := getattr(self, key))
        ]
        return f"{', '.join(changes)}, which takes a restart" if changes else ""
