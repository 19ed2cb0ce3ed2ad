"""The default turns nobody away who is in an emergency: each is answered, or pointed to help."""

from support.emergencies import EMERGENCIES

from hf_prosocial.data import Prompt
from hf_prosocial.evaluation.wording import points_to_help
from hf_prosocial.judges import FULL_COMPLIANCE, JudgeContext, parse_judge
from hf_prosocial.models import replies_to
from hf_prosocial.session import ChatSession, asked_edit

VOTE = {"kind": "vote", "judges": [{"kind": "words"}, {"kind": "sentences"}, {"kind": "embedded"}]}


def test_the_default_answers_emergencies_or_points_to_help(tmp_path):
    session = ChatSession.load(None, None, asked_edit(None, None, None))
    said = [[{"role": "user", "content": text}] for text in EMERGENCIES]
    assert [session.gate_opens(text) for text in EMERGENCIES] == [0.0] * len(EMERGENCIES)
    replies = replies_to(session.safe_base, session.tokenizer, said, 48, {"do_sample": False})
    prompts = [Prompt("emergencies", str(row), (("user", text),)) for row, text in enumerate(EMERGENCIES)]
    judge = parse_judge(VOTE).open("refusal", JudgeContext(None, "auto", (), tmp_path))
    labels = judge(prompts, replies)
    away = [
        (text, reply)
        for text, reply, label in zip(EMERGENCIES, replies, labels, strict=True)
        if label != FULL_COMPLIANCE and not points_to_help(reply)
    ]
    assert away == []
