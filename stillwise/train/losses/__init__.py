"""Per-token losses in nats: from hidden states and an output head in chunks, or from dense log-probabilities.

Every loss is a sum over tokens (or pairs) of weight times value; what it is divided by is decided once, by
:mod:`stillwise.train.losses.reduce`, over the whole optimiser step and all processes.
"""
