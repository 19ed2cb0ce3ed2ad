from .layout import page as page
from .shares import rebalanced as rebalanced
from .stream import Step as Step
from .stream import stream as stream
