"""`prosocial chat`: reads lines, prints replies as they come."""

from collections.abc import Callable, Generator
from contextlib import closing

from hf_prosocial.errors import ProsocialError
from hf_prosocial.session import WHERE_HELP_IS, Step, about_edit, about_gate

from .conversation import Conversation, changed_of

HELP = """/preference empathy=0.7,truthfulness=0.3   guide by these weights (β becomes 1 where it is 0)
/beta 0.5                                   strength of guidance; 0 for none
/compare                                    show the base's own reply beside each, or stop
/save chat.json                             write the conversation to a file
/new                                        forget the conversation
/quit                                       end; so does Ctrl-D. Ctrl-C stops a reply"""

Write = Callable[[str], None]
Read = Callable[[str], str]


def talk(chat: Conversation, read: Read = input, write: Write = lambda text: print(text, end="", flush=True)) -> None:
    """Answer line after line, until /quit or the input's end.

    Args:
        chat: the conversation; it is changed.
        read: asks for a line, given a prompt. EOFError ends the chat; KeyboardInterrupt does where no reply is at work.
        write: prints text as it is.
    """
    session = chat.session
    edit = f"; {about_edit(session.edit)}" if session.edit else ""
    write(f"base: {session.source}{edit}\n{_guidance(chat)}\n{WHERE_HELP_IS}\n/help lists the commands.\n")
    while True:
        try:
            # What no tokenizer reads, half a character from a pipe, becomes the sign for that.
            line = read("> ").strip().encode(errors="surrogateescape").decode(errors="replace")
        except (EOFError, KeyboardInterrupt):
            write("\n")
            return
        if line == "/quit":
            return
        try:
            if line.startswith("/"):
                write(_command(chat, line) + "\n")
            elif line:
                _answer(chat, line, write)
        except KeyboardInterrupt:
            write(" [stopped]\n")
        except (ProsocialError, OSError) as error:
            write(f"{error}\n")


def _answer(chat: Conversation, line: str, write: Write) -> None:
    if opens := chat.session.gate_opens(chat.asked(line)):
        write(f"[{about_gate(opens)}]\n")
    steps = _printed(chat.say(line), chat.max_new_tokens, write)
    if not steps or not chat.compare:
        return
    write(f"[{changed_of(steps)}. The base by itself:]\n")
    _printed(chat.base_reply(), chat.max_new_tokens, write)


def _printed(steps: Generator[Step], max_new_tokens: int, write: Write) -> list[Step]:
    """Print a reply as it comes, and whether it was cut off; Ctrl-C ends it, and keeps what there is."""
    found: list[Step] = []
    try:
        with closing(steps):
            for step in steps:
                found.append(step)
                write(step.text)
    except KeyboardInterrupt:
        write(" [stopped]")
    else:
        if found and not found[-1].ends:
            write(f" [cut off after {max_new_tokens} tokens; start with a greater --max-new-tokens for longer replies]")
    write("\n")
    return found


def _command(chat: Conversation, line: str) -> str:
    name, _, rest = line[1:].partition(" ")
    rest = rest.strip()
    if rest and name in ("help", "new", "compare"):
        raise ProsocialError(f"/{name} takes nothing after it")
    if name == "help":
        return HELP
    if name == "new":
        chat.forget()
        return "A new conversation."
    if name == "compare":
        chat.compare = not chat.compare
        return "The base's own reply is shown too." if chat.compare else "The base's own reply is not shown."
    if name == "save":
        return f"Saved to {chat.save(rest)}." if rest else "/save needs a file's name."
    if name == "preference":
        if rest:
            chat.set_preference(rest)
        return _guidance(chat)
    if name == "beta":
        if rest:
            chat.set_beta(rest)
        return _guidance(chat)
    raise ProsocialError(f"no command /{name}; /help lists them")


def _guidance(chat: Conversation) -> str:
    how = f"preference {chat.preference}, β = {chat.beta:g}"
    return how if chat.beta else f"{how}: the ARM has no say (/preference or /beta to let it)"
