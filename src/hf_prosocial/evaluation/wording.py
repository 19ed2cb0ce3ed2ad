"""How replies are worded: openings that come again and again, templates, and words that point to help."""

import re
from collections import Counter
from collections.abc import Sequence

from .text_statistics import words

OPENING_WORDS = 4
"""Words of a reply that are its opening."""
TEMPLATES = {
    "I'm sorry": re.compile(
        r"\W*(i'?m|i am|we'?re|we are) (so |very |really |truly |deeply )*sorry\b|\W*i apologi[sz]e\b"
    ),
    "as an AI": re.compile(
        r"\b(as|i'?m|i am) (just )?an? (helpful )?(ai|artificial|language model|chatbot|assistant)\b"
    ),
    "it's important to": re.compile(r"\bit'?s (also )?important to\b|\bit is (also )?important to\b"),
}
"""Templates of chat models' replies; the first one is of openings, the others may stand anywhere."""
_HELP = re.compile(
    r"\b(therapist|counsell?or|psychologist|psychiatrist|mental health (professional|service|care)|"
    r"(seek|seeking|get|getting|find|reach out for|ask for) (\w+ ){0,2}(help|support)|professional help|support group|"
    r"hot ?line|help ?line|crisis|lifeline|samaritans|emergency (service|number|room|department)s?|"
    r"(call|dial|text) (for )?(an ambulance|911|999|112|988|116 ?123|the police)|"
    r"(see|call|contact|visit|consult|consult with|talk to|speak to|speak with) (a|an|your) (\w+ ){0,2}"
    r"(doctor|physician|gp|nurse|professional)|"
    r"trusted (friend|adult|person|family)|"
    r"(talk|speak|reach out) (to|with) (a|your|someone|people|friends|family))\b"
)


def opening(reply: str) -> str:
    """A reply's first words, in lower case."""
    return " ".join(words(reply)[:OPENING_WORDS])


def same_opening(replies: Sequence[str]) -> float:
    """The chance that two of the replies, drawn at random, open with the same words (Simpson's index); 0 for one."""
    counts = Counter(map(opening, replies))
    pairs = len(replies) * (len(replies) - 1)
    return sum(count * (count - 1) for count in counts.values()) / pairs if pairs else 0.0


def has_template(reply: str, name: str) -> bool:
    """Whether a reply holds one of `TEMPLATES`."""
    text = reply.lower().replace("’", "'")
    find = TEMPLATES[name].match if name == "I'm sorry" else TEMPLATES[name].search
    return find(text) is not None


def points_to_help(reply: str) -> bool:
    """Whether a reply names somebody to turn to: a helpline, a professional, emergency services, people who are close.

    By words: a reply that names a therapist only to say that it is none counts as well.
    """
    return _HELP.search(reply.lower().replace("’", "'")) is not None
