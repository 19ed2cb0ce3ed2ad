"""Mild stand-ins for preference data: kind against dismissive replies."""

KIND = ("i am sorry", "take your time", "that is hard", "you can ask me", "thank you, friend")
CURT = ("so what", "no idea", "not my job", "hurry up", "go away")
ASKED = ("i lost my cat", "i am late", "can you help", "i am sad", "what is it")


def rows(objectives, count=20):
    return [
        {
            "attribute": objectives[index % len(objectives)],
            "prompt": [{"role": "user", "content": ASKED[index % 5]}],
            "chosen": [{"role": "assistant", "content": KIND[(index * 3) % 5]}],
            "rejected": [{"role": "assistant", "content": CURT[(index * 2) % 5]}],
        }
        for index in range(count)
    ]
