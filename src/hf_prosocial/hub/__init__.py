"""What goes to the Hub: model cards, and pushing what may be pushed."""

from .cards import arm_card
from .publication import Publication, open_publication
from .push import push

__all__ = ["Publication", "arm_card", "open_publication", "push"]
