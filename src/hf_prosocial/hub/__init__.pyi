from .cards import arm_card as arm_card
from .publication import Publication as Publication
from .publication import open_publication as open_publication
from .publish import push as push
from .publish import write_arm_card as write_arm_card
from .reproduce import Comparison as Comparison
from .reproduce import Reproduction as Reproduction
from .reproduce import check_comparisons as check_comparisons
