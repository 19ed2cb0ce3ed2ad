from .layout import page as page
from .shares import rebalanced as rebalanced
