"""Completes what is typed in a shell: the command `completion`, and what its scripts ask for."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
)

PROGRAM = "prefork"
"""The name that is completed: a shell looks at the first word, which `python` has in common."""

_VARIABLE = f"_{PROGRAM}_COMPLETE".upper()
"""The environment variable by which a script asks, named as click does."""

_BREAKS = frozenset(":=@")
"""Where bash breaks words that are one to everybody else: COMP_WORDBREAKS in bash(1)."""

_BASH = """\
%(complete_func)s() {
    local type value program=${1/#\\~\\//$HOME/} IFS=$'\\n'
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            part) compopt -o nospace; COMPREPLY+=("$value") ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
        %(complete_var)s=bash_complete "$program" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a response plain described parts
    local type value help
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \\
        %(complete_var)s=zsh_complete ${~words[1]} 2>/dev/null)}")
    for type value help in $response; do
        case $type in
            dir) _files -/ ;;
            file) _files ;;
            part) parts+=("$value") ;;
            plain)
                if [[ $help == _ ]]; then
                    plain+=("$value")
                else
                    described+=("${value//:/\\\\:}:$help")
                fi ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described
    (( $#plain )) && compadd -V unsorted -a plain
    (( $#parts )) && compadd -S '' -V unsorted -a parts
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    set -l program (string replace -r '^~/' "$HOME/" -- (commandline -opc)[1])
    for line in (env COMP_WORDS=(commandline -cp | string collect) COMP_CWORD=(commandline -ct) \\
            %(complete_var)s=fish_complete $program 2>/dev/null)
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories (commandline -ct)
            case file
                __fish_complete_path (commandline -ct)
            case '*'
                echo $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments '(%(complete_func)s)'
"""


class _Bash(BashComplete):
    """Bash, which breaks words at more than blanks and is to be given what follows the break."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is completed, and that word, put together again."""
        before, word = super().get_completion_args()
        words, self._kept = joined([*before, word])
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return a candidate without what bash keeps of the word."""
        return f"{item.type},{item.value[self._kept :]}"


class _Zsh(ZshComplete):
    """Zsh; the script takes care of colons, which only `_describe` wants to be marked."""

    source_template = _ZSH

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return a candidate in three lines."""
        return f"{item.type}\n{item.value}\n{(item.help or '_').splitlines()[0]}"


class _Fish(FishComplete):
    """Fish, which adds no space after a sign such as "=" by itself."""

    source_template = _FISH


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def joined(words: Sequence[str]) -> tuple[list[str], int]:
    """Put words together that bash has broken.

    Returns:
        The words, and how many characters of the last one are before its last break.
    """
    found = [words[0]] if words else [""]
    kept, after_break = 0, False
    for word in words[1:]:
        is_break = bool(word) and _BREAKS.issuperset(word)
        if is_break or (after_break and word):
            kept = len(found[-1]) + (len(word) if is_break else 0)
            found[-1] += word
        else:
            found.append(word)
            kept = 0
        after_break = is_break
    return found, kept


def answer(cli: click.Command, instruction: str) -> int:
    """Print what can be typed; return the exit code.

    Args:
        cli: the command line.
        instruction: what is asked for, such as `bash_complete`.
    """
    for name, kind in SHELLS.items():
        add_completion_class(kind, name)
    return shell_complete(cli, {}, PROGRAM, _VARIABLE, instruction)


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print a script that completes `prefork` in a shell.

    In bash and zsh, `eval "$(prefork completion SHELL)"` in ~/.bashrc or ~/.zshrc takes it on; in
    fish, `prefork completion fish >~/.config/fish/completions/prefork.fish`.
    """
    kind = SHELLS[shell]
    click.echo(kind(click.Command(None), {}, PROGRAM, _VARIABLE).source(), nl=False)
