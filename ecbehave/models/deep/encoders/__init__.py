"""Encoders: what is known after each event of a sequence, from that event and those before it.

All have the same interface, `forward(x, when, noise)`: the vectors of the events [B, L, D], the days from each event to
the instant as of which is asked [B, L], and what to draw from while learning, or None. They return [B, L, D], scaled
by a norm. Sequences stand at the left; what is returned after the end of a sequence means nothing.

B sequences, L events, D width.
"""
