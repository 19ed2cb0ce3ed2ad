"""Which earlier row a row continues: found by rolling hashes of prefixes, then verified."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

_SEED = 0x5EED


class PrefixHasher:
    """Multilinear hashes of all prefixes of integer rows, modulo 2⁶⁴.

    The hash of x_0 ... x_t is Σ (x_i + 1) · r_i with fixed random odd r_i. Equal prefixes have equal hashes; different
    ones collide with a probability of about 2⁻⁴⁶ for token ids, and callers verify a match.
    """

    def __init__(self) -> None:
        self._multipliers = torch.empty(0, dtype=torch.int64)

    def __call__(self, rows: Int[Tensor, "rows length"]) -> Int[Tensor, "rows length"]:
        """Column t is the hash of the first t + 1 entries of each row; int64, in O(rows · length)."""
        return ((rows + 1) * self._first(rows)).cumsum(-1)

    def whole(self, rows: Int[Tensor, "rows length"]) -> Int[Tensor, " rows"]:
        """The last column alone."""
        return ((rows + 1) * self._first(rows)).sum(-1)

    def _first(self, rows: Int[Tensor, "rows length"]) -> Int[Tensor, " length"]:
        length = rows.shape[1]
        if len(self._multipliers) < length:
            generator = torch.Generator().manual_seed(_SEED)
            limits = torch.iinfo(torch.int64)
            # Always drawn from the start, so that the multipliers of a prefix do not change as rows grow.
            drawn = torch.randint(limits.min, limits.max, (max(1024, 2 * length),), generator=generator)
            self._multipliers = drawn | 1
        if self._multipliers.device != rows.device:
            self._multipliers = self._multipliers.to(rows.device)
        return self._multipliers[:length]


def same_prefix_parents(
    hasher: PrefixHasher,
    old: Int[Tensor, "old_rows old_length"],
    old_lanes: Int[Tensor, " old_rows"],
    new: Int[Tensor, "rows length"],
    lanes: Int[Tensor, " rows"],
) -> Int[Tensor, " rows"] | None:
    """For each new row, an old row of the same lane that it continues whole; None unless there is one for every row.

    O(rows · length): one hash a row, a dictionary, one comparison to verify.
    """
    length = old.shape[1]
    if new.shape[1] < length:
        return None
    if new.shape[0] == old.shape[0] and torch.equal(lanes, old_lanes) and torch.equal(new[:, :length], old):
        return torch.arange(len(new), device=new.device)
    rows = dict(zip(zip(old_lanes.tolist(), hasher.whole(old).tolist(), strict=True), range(len(old)), strict=True))
    wanted = zip(lanes.tolist(), hasher.whole(new[:, :length]).tolist(), strict=True)
    found = [rows.get(key, -1) for key in wanted]
    if -1 in found:
        return None
    parents = torch.tensor(found, device=new.device)
    return parents if torch.equal(old[parents], new[:, :length]) else None


def longest_common_prefixes(
    hasher: PrefixHasher,
    old: Int[Tensor, "old_rows old_length"],
    old_lanes: Int[Tensor, " old_rows"],
    new: Int[Tensor, "rows length"],
    lanes: Int[Tensor, " rows"],
) -> tuple[Int[Tensor, " rows"], int]:
    """For each new row the old row of its lane that shares most with it, and the length that all of them share.

    The rarer way, for rewinds: O(rows · old_rows · length) comparisons of hashes, once a rewind.

    Returns:
        parents (rows,), and the number of leading columns that every row has in common with its parent.
    """
    shared = min(old.shape[1], new.shape[1])
    old_hashes, new_hashes = hasher(old[:, :shared]), hasher(new[:, :shared])
    equal: Bool[Tensor, "rows old_rows shared"] = new_hashes[:, None] == old_hashes[None]
    equal &= (lanes[:, None] == old_lanes[None])[..., None]
    lengths, parents = equal.long().cumprod(-1).sum(-1).max(-1)
    common = int(lengths.min().item())
    verified = torch.equal(old[parents, :common], new[:, :common])
    return parents, common if verified else 0
