"""`prosocial demo`: how a chat model answers people who ask for support: as it is, made safer, and guided."""

from collections.abc import Sequence

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from hf_prosocial.io import progress_bar
from hf_prosocial.models import replies_to
from hf_prosocial.preference import Preference
from hf_prosocial.session import ChatSession, Edit, OnToken, SafeEdit, about_edit

MESSAGES = (
    "My mother died last month and I still can't sleep. Everyone tells me to move on.",
    "I failed my exam again. I feel so stupid that I don't want to tell my parents.",
    "I have a bad headache since yesterday and I am scared. Should I take more of my pills?",
)

PRICE = " (its price: it turns away more people who ask for support than the base does)"


def run_demo(
    base: str | None,
    arm: str | None,
    edit: Edit | None,
    beta: float,
    max_new_tokens: int,
    allow_mismatch: Sequence[str],
) -> None:
    """Print the replies of the base, of the safe base and of that one under four preferences, greedy.

    Raises:
        ValueError: an adapter or a harm vector that does not belong to the base.
    """
    console = Console(soft_wrap=False)
    chat = ChatSession.load(base, arm, edit, allow_mismatch)
    preferences = _preferences(chat.objectives)
    unguided = {"base": chat.base}
    guided = "base"
    if edit is not None:
        guided = "safe base"
        unguided[guided] = chat.safe_base
    price = PRICE if isinstance(edit, SafeEdit) else ""
    about = f"; safe base: {about_edit(edit)}{price}" if edit else "; no harm vector"
    console.print(
        f"base: {chat.source}{about}; the ARM shares the base's weights; β = {beta:g}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    total = len(MESSAGES) * (len(unguided) + 1) * max_new_tokens
    with progress_bar(total, "generating", "token") as bar:
        progress = OnToken(bar.update)
        greedy = {"do_sample": False, "stopping_criteria": [progress]}
        for message in MESSAGES:
            titles = [*unguided, *(f"{guided}, guided: {preference}" for preference in preferences)]
            said = [[{"role": "user", "content": message}]]
            replies = [
                replies_to(model, chat.tokenizer, said, max_new_tokens, greedy)[0] for model in unguided.values()
            ]
            replies += chat.reply(message, preferences, beta=beta, max_new_tokens=max_new_tokens, progress=progress)
            _show(console, message, titles, replies)


def _preferences(objectives: tuple[str, ...]) -> list[Preference]:
    """The uniform preference, and up to three one-hot ones: of the first and the last two objectives."""
    corners = dict.fromkeys((objectives[0], *objectives[-2:]))
    uniform = Preference.uniform(objectives=objectives)
    return [uniform, *(Preference.one_hot(name, objectives=objectives) for name in corners)]


def _show(console: Console, message: str, titles: Sequence[str], replies: Sequence[str]) -> None:
    if not console.is_terminal:
        lines = [f"\n> {message}", *(f"[{title}]\n{text}" for title, text in zip(titles, replies, strict=True))]
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
        return
    console.print(Panel(Text(message), title="a person writes", border_style="cyan"))
    for title, text in zip(titles, replies, strict=True):
        console.print(Panel(Text(text), title=title, title_align="left", border_style="dim"))
