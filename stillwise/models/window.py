"""A key-value cache for rows that come and go: all rows write the same column, each sees its own last columns.

A new row's prompt is placed so that it ends at the current column; rotary positions are in the keys already, so the column
says nothing about the position. Reading is a view from the oldest living row's first column on: nothing is concatenated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# B slots, H key-value heads, T columns, D head width, N new rows, P prompt columns


class PromptCache:
    """Keeps the keys and values of one prefill, layer by layer."""

    def __init__(self) -> None:
        self.kept: list[tuple[Tensor, Tensor]] = []

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The keys and values as they came."""
        self.kept.append((keys, values))
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """0: nothing was there before the prompt."""
        return 0


class WindowCache:
    """Preallocated keys and values [B, H, T, D] of the slots, and the mask of what each slot may see."""

    def __init__(self, slots: int, longest: int, dtype: Any, device: Any) -> None:
        """``longest`` is the length of the longest prompt that will come."""
        import torch

        self.slots, self.column, self.low = slots, longest, 0
        self._longest = longest
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._starts = [longest] * slots
        self._masked = torch.finfo(dtype).min
        self._mask_BT = torch.zeros(slots, _room(longest), dtype=dtype, device=device)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns that the oldest living row sees before the next token."""
        return self.column - self.low

    @property
    def mask(self) -> Tensor:
        """The additive mask [B, 1, 1, T] of the next token: the row's own columns are 0, others the least number."""
        return self._mask_BT[: self.slots, None, None, self.low : self.column + 1]

    def admit(self, slots: Sequence[int], lengths: Sequence[int], prompts: PromptCache) -> None:
        """Place left-padded prompts of these lengths into slots, ending before the current column."""
        import torch

        if not self._buffers:
            self._buffers = [(self._empty(k), self._empty(v)) for k, v in prompts.kept]
        index_N = torch.tensor(slots, device=self._mask_BT.device)
        width = prompts.kept[0][0].shape[2]
        for (keys, values), (new_keys, new_values) in zip(self._buffers, prompts.kept, strict=True):
            keys[index_N, :, self.column - width : self.column] = new_keys
            values[index_N, :, self.column - width : self.column] = new_values
        for slot, length in zip(slots, lengths, strict=True):
            self._starts[slot] = self.column - length
            self._mask_BT[slot, : self.column - length] = self._masked
            self._mask_BT[slot, self.column - length :] = 0
        self.low = min(self.low, self.column - max(lengths))

    def _empty(self, like: Tensor) -> Tensor:
        return like.new_zeros(self.slots, like.shape[1], self._mask_BT.shape[1], like.shape[3])

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the current column of all slots; views of the window."""
        keys_BHTD, values_BHTD = self._buffers[layer_idx]
        keys_BHTD[: self.slots, :, self.column] = keys[:, :, 0]
        values_BHTD[: self.slots, :, self.column] = values[:, :, 0]
        window = (slice(None, self.slots), slice(None), slice(self.low, self.column + 1))
        return keys_BHTD[window], values_BHTD[window]

    def advance(self, living: Sequence[int]) -> None:
        """Go to the next column; the window begins where the oldest of the living slots does."""
        self.column += 1
        self.low = min((self._starts[slot] for slot in living), default=self.column)
        if self.column >= self._mask_BT.shape[1]:
            self._shift()

    def _shift(self) -> None:
        """Move the window to the front of new buffers, behind room for the longest prompt, with room to grow."""
        width = self.column - self.low
        front = max(self._longest - width, 0)
        room = _room(front + width)
        self._buffers = [(self._moved(k, front, room), self._moved(v, front, room)) for k, v in self._buffers]
        mask_BT = self._mask_BT.new_zeros(self.slots, room)
        mask_BT[:, front : front + width] = self._mask_BT[: self.slots, self.low : self.column]
        self._mask_BT = mask_BT
        self._starts = [start - self.low + front for start in self._starts[: self.slots]]
        self.column, self.low = front + width, front

    def _moved(self, old: Tensor, front: int, room: int) -> Tensor:
        new = old.new_zeros(self.slots, old.shape[1], room, old.shape[3])
        width = self.column - self.low
        new[:, :, front : front + width] = old[: self.slots, :, self.low : self.column]
        return new

    def compact(self, living: Sequence[int]) -> list[int]:
        """Drop dead slots: the living keep their order at the front. Returns the old slot of each new one."""
        import torch

        kept = list(living)
        moved = [(new, old) for new, old in enumerate(kept) if new != old]
        if moved:
            to_N, from_N = torch.tensor(moved, device=self._mask_BT.device).T
            for buffer in (b for pair in self._buffers for b in pair):
                buffer[to_N, :, self.low : self.column] = buffer[from_N, :, self.low : self.column]
            self._mask_BT[to_N] = self._mask_BT[from_N]
        self._starts = [self._starts[old] for old in kept]
        self.slots = len(kept)
        return kept


def _room(width: int) -> int:
    """Columns to allocate for a window of this width: twice as many, and at least 256 free ones."""
    return width + max(width, 256)
