"""`streamproof token`: a token for a target whose signing key is at hand, alone on a line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from streamproof import config
from streamproof.errors import ExitCode, UsageError
from streamproof.terminal import say

if TYPE_CHECKING:
    import argparse

HELP = "print a token for a target whose key is at hand"
EXAMPLES = """
streamproof token --state .streamproof
streamproof token --state DIR --user ada --tenant acme --permission probe --permission broadcast
streamproof token --target file:DIR/target.json --expires-in 60
streamproof token --target ws://127.0.0.1:9000/dev --jwt-key dev.pem --issuer https://issuer.test
"""

STATE_DIRECTORY = Path(".streamproof")  # where `serve` keeps its state when nothing is said
EXPIRES_IN_S = 3600
EXPIRES_IN_S_MAX = 10 * 365 * 86_400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    where = parser.add_argument_group("target")
    place = where.add_mutually_exclusive_group()
    place.add_argument(
        "--state", type=Path, metavar="DIR", help=f"state of `serve` (default {STATE_DIRECTORY})"
    )
    place.add_argument("--target", metavar="T", help="file:DIR/target.json, ws://..., wss://...")
    where.add_argument("--jwt-key", metavar="FILE", help="PEM file of the signing key")
    where.add_argument("--issuer", metavar="ISS", help="`iss` of the token")
    where.add_argument("--audience", metavar="AUD", help="`aud` of the token")
    claims = parser.add_argument_group("claims")
    claims.add_argument("--user", default="dev-user", metavar="U", help="`sub` (default dev-user)")
    claims.add_argument(
        "--tenant", default="dev-tenant", metavar="T", help="`tenant_id` (default dev-tenant)"
    )
    claims.add_argument(
        "--permission", action="append", default=[], metavar="P", help="may be given again"
    )
    claims.add_argument(
        "--expires-in",
        type=int,
        default=EXPIRES_IN_S,
        metavar="S",
        help=f"seconds until `exp`, below zero for an expired one (default {EXPIRES_IN_S})",
    )


def run(args: argparse.Namespace) -> ExitCode:
    """Mint with the key that the target names, and print the token and nothing else."""
    from streamproof.targets import Identity, resolve  # noqa: PLC0415 - imports cryptography, slow

    if abs(args.expires_in) > EXPIRES_IN_S_MAX:
        raise UsageError(
            f"--expires-in {args.expires_in} is beyond ten years", "give fewer seconds"
        )
    name, settings = _place(args)
    if name == "embedded":
        raise UsageError(
            "embedded lives only while a command runs it",
            "start `streamproof serve --state DIR`, then `streamproof token --state DIR`",
        )
    with resolve(name, config.target_options(settings)) as target:
        if target.mint is None:
            raise UsageError(f"{name} names no signing key", "give one with --jwt-key FILE")
        identity = Identity(args.user, args.tenant, tuple(args.permission))
        issued_s = target.mint.claims(identity)["iat"]
        say(target.mint.mint(identity, exp=issued_s + args.expires_in))
    return ExitCode.HOLDS


def _place(args: argparse.Namespace) -> tuple[str, config.Config]:
    """The target's word and the settings: what was said, else the file, else serve's own state."""
    settings = config.load(
        options={
            "target": args.target,
            "auth.jwt_key": args.jwt_key,
            "auth.issuer": args.issuer,
            "auth.audience": args.audience,
        }
    )
    # A token that the file gives would stand in the way of minting one.
    kept = {
        key: dataclasses.replace(setting, value=None)
        if key in ("auth.token", "auth.token_command")
        else setting
        for key, setting in settings.settings.items()
    }
    said = settings.settings["target"]
    by_state = args.state is not None or said.source == config.DEFAULT
    name = f"file:{args.state or STATE_DIRECTORY}" if by_state else str(said.value)
    return name, config.Config(kept)
