"""Section 1, before the connection is open: AUTH-1 to AUTH-4."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from streamproof.contract.context import Context
from streamproof.contract.failures import Broken, NotApplicable, expect
from streamproof.contract.registry import Group, clause
from streamproof.targets import Capability
from streamproof.targets.tokens import (
    ABSENT,
    Forgery,
    Identity,
    bad_claims,
    forgeries_of_a_good_token,
    forgeries_with_the_key,
)


@clause(
    "AUTH-1",
    group=Group.CONNECTION,
    sentence="A good token opens a connection from the query parameter Authorization, or from the "
    "header of that name when the query has none, with or without `Bearer `.",
    why="Browsers cannot set headers and servers should not put tokens in URLs: both must work.",
    origin="Streamer",
)
async def every_carrier_opens(ctx: Context) -> None:
    """Try each carrier and spelling, then both carriers at once."""
    token = ctx.token()
    carriers: list[tuple[str, dict[str, Any]]] = [
        ("the query", {"query": token}),
        ("the query with Bearer", {"query": f"Bearer {token}"}),
        ("the header", {"header": token}),
        ("the header with Bearer", {"header": f"Bearer {token}"}),
        ("the header in lower case", {"headers": {"authorization": token}}),
        ("the header in upper case", {"headers": {"AUTHORIZATION": f"Bearer {token}"}}),
        ("a good query and a bad header", {"query": token, "header": "nonsense"}),
    ]
    for name, carrier in carriers:
        status = await ctx.status(**carrier)
        expect(status == 101, f"101 for a good token in {name}", status)
    status = await ctx.status(query="nonsense", header=token)
    expect(status != 101, "a bad query to be refused, whatever the header says", status)


_IDS = re.compile(rb'"\w*Id": *"[^"]*"')  # API Gateway's envelope names the connection anew


async def _all_refused(ctx: Context, forgeries: Iterable[Forgery]) -> None:
    """Every forgery must be answered 401; the worst finding is reported: one that opened."""
    opened, odd = [], []
    for forgery in forgeries:
        status = await ctx.status(query=forgery.token)
        if status == 101:
            opened.append(forgery.name)
        elif status != 401:
            odd.append(f"{forgery.name}: {status}")
    if opened:
        raise Broken("a refusal at the handshake", f"a connection for {', '.join(opened)}")
    expect(not odd, "status 401", "; ".join(odd))


@clause(
    "AUTH-2",
    group=Group.CONNECTION,
    sentence="Only RS256 under the configured public key is accepted: no `none`, no HS256 keyed "
    "with the public key, no other algorithm, key, `jwk`, `jku`, `x5u`, hostile `kid` or unknown "
    "`crit`.",
    why="Each of these has let strangers in somewhere: the token's header must not choose how the "
    "token is checked.",
    origin="RFC 8725",
    messages=0,
)
async def forged_tokens_are_refused(ctx: Context) -> None:
    """Try every forgery of a good token, and with the private key the misuses of it."""
    public_pem = ctx.target.mint.public_pem if ctx.target.mint is not None else None
    good = ctx.token()
    if good.count(".") != 2:
        raise NotApplicable("the token is no JWT")
    await _all_refused(ctx, forgeries_of_a_good_token(good, public_pem))
    if ctx.target.mint is not None:
        await _all_refused(ctx, forgeries_with_the_key(ctx.target.mint, ctx.identity()))


@clause(
    "AUTH-3",
    group=Group.CONNECTION,
    needs=(Capability.MINT,),
    sentence="`exp`, `sub` and `tenant_id` are required and well formed; expired, not yet valid, "
    "issued ahead, and a wrong or missing issuer or audience are refused.",
    why="A token without an end never ends, and one for another service is no key to this one.",
    origin="Streamer, RFC 7519",
    messages=0,
)
async def bad_claims_are_refused(ctx: Context) -> None:
    """Well signed tokens, each with one bad claim; then good ones at the edges."""
    identity = ctx.identity()
    await _all_refused(ctx, bad_claims(ctx.mint, identity))
    now_s = int(ctx.mint.clock())
    longest = identity.user + "u" * (256 - len(identity.user))
    edges: list[tuple[str, str]] = [
        ("a sub of 256 characters", ctx.token(Identity(longest, identity.tenant))),
        ("nbf a minute ago", ctx.token(identity, nbf=now_s - 60)),
        ("an empty list of permissions", ctx.token(identity, permissions=[])),
        ("a fraction in exp", ctx.token(identity, exp=now_s + 600.5)),
    ]
    if ctx.mint.audience is None:
        edges.append(("an aud where none is configured", ctx.token(identity, aud="anybody")))
    else:
        auds = [ctx.mint.audience, "another"]
        edges.append(("the audience among others", ctx.token(identity, aud=auds)))
    for name, token in edges:
        status = await ctx.status(query=token)
        expect(status == 101, f"101 for a good token with {name}", status)


@clause(
    "AUTH-3/audience",
    group=Group.CONNECTION,
    needs=(Capability.MINT, Capability.VARIANT),
    sentence="Where an audience is configured, a token for another one or for none is refused.",
    why="A token issued for another service must not open this one.",
    origin="RFC 7519",
    messages=0,
)
async def the_audience_is_checked(ctx: Context) -> None:
    """Start the system again with an audience."""
    me = ctx.identity()
    async with ctx.variant("--audience", "one") as other:
        for name, aud, wanted in (
            ("the right audience", "one", 101),
            ("the audience in a list", ["two", "one"], 101),
            ("another audience", "two", 401),
            ("a longer audience", "one-more", 401),
            ("no audience", ABSENT, 401),
        ):
            token = other.mint.mint(me, aud=aud)
            status = await ctx.status(query=token, target=other)
            expect(status == wanted, f"{wanted} for {name}", status)


@clause(
    "AUTH-4",
    group=Group.CONNECTION,
    sentence="A missing or bad token is answered with status 401 at the handshake, and the answer "
    "does not say why.",
    why="A client must tell a bad token from a broken service, and an attacker must learn nothing.",
    origin="Streamer, ours",
    messages=0,
)
async def no_token_is_401(ctx: Context) -> None:
    """No token, and what is no token at all."""
    good = ctx.token() if ctx.target.tokens is not None else "secret"
    carriers: list[tuple[str, dict[str, Any]]] = [
        ("no token", {}),
        ("an empty token", {"query": ""}),
        ("Bearer alone", {"query": "Bearer "}),
        ("a word", {"query": "secret"}),
        ("dots", {"query": "..."}),
        ("text that is no base64", {"query": "ä.ö.ü"}),
        ("a token behind Basic", {"header": f"Basic {good}"}),
        ("two tokens in one", {"query": f"{good} {good}"}),
    ]
    bodies: set[bytes] = set()
    for name, carrier in carriers:
        opened = await ctx.handshake(**carrier)
        status = getattr(opened, "status", 101)
        if status == 101:
            raise Broken(f"401 for {name}", "an open connection")
        expect(status == 401, f"401 for {name}", status)
        bodies.add(_IDS.sub(b"", getattr(opened, "body", b"")[:500]))
    expect(len(bodies) == 1, "one answer to all, without the reason", sorted(bodies))


@clause(
    "AUTH-4/tenant",
    group=Group.CONNECTION,
    needs=(Capability.MINT,),
    sentence="A tenant that is not on the list is answered with status 403 at the handshake.",
    why="A client with a good token must learn that it is not welcome, not that it is unknown.",
    origin="Streamer",
    messages=0,
)
async def another_tenant_is_403(ctx: Context) -> None:
    """A good token of a tenant that is not among those allowed; the variant allows one."""
    stranger = Identity("stranger", ctx.key("stranger"))
    if ctx.target.options.tenants:
        status = await ctx.status(query=ctx.token(stranger))
        expect(status == 403, "403", status)
        return
    if Capability.VARIANT not in ctx.target.capabilities:
        raise NotApplicable("no list of tenants is known: name them with --tenant")
    async with ctx.variant("--allow-tenant", ctx.identity().tenant) as other:
        for who, wanted in ((ctx.identity(), 101), (stranger, 403)):
            status = await ctx.status(query=other.mint.mint(who), target=other)
            expect(status == wanted, f"{wanted} for the tenant {who.tenant}", status)
