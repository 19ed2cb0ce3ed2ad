from .conversation import Conversation as Conversation
from .demo import run_demo as run_demo
from .generate import run_generate as run_generate
from .terminal import talk as talk
