"""What the suite is pointed at: resolving a word to a target, its tokens, its safety rules."""

from streamproof.targets.base import Capability, Description, Limits, TargetOptions
from streamproof.targets.resolve import Target, resolve
from streamproof.targets.tokens import Identity, TokenMint, TokenSource

__all__ = [
    "Capability",
    "Description",
    "Identity",
    "Limits",
    "Target",
    "TargetOptions",
    "TokenMint",
    "TokenSource",
    "resolve",
]
