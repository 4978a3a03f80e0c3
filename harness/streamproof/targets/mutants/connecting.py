"""Section 1 of the contract, broken: tokens, handshakes, connections."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import json
import math
import sys
from typing import Any

import jwt

from streamer_reference.handlers.job import Job
from streamproof.targets.mutants.base import Patch, WrongError, execute, mutant

AUTH = "streamer_reference.auth"
CONNECT = "streamer_reference.lambdas.connect:connect"
DISCONNECT = "streamer_reference.lambdas.disconnect:disconnect"
LAST_S = 253_402_300_799  # 9999-12-31, the last moment that a date can hold
STORE = "streamer_reference.store.sqlite:SqliteStore"


@mutant("AUTH-1")
def header_before_query(patch: Patch) -> None:
    """The header is taken before the query parameter."""

    @patch.around(f"{AUTH}:token_of")
    def token_of(original: Any, event: Any) -> str:
        from_header = original({**event, "queryStringParameters": None})
        return str(from_header or original(event))


@mutant("AUTH-1")
def header_in_one_case(patch: Patch) -> None:
    """The header is found only when it is spelled `Authorization`."""

    @patch.around(f"{AUTH}:token_of")
    def token_of(original: Any, event: Any) -> str:
        headers = event.get("headers") or {}
        kept = {k: v for k, v in headers.items() if k.lower() != "authorization" or k.istitle()}
        return str(original({**event, "headers": kept}))


@mutant("AUTH-1")
def bearer_kept(patch: Patch) -> None:
    """The prefix `Bearer ` is taken for a part of the token."""

    @patch.around(f"{AUTH}:token_of")
    def token_of(original: Any, event: Any) -> str:
        query = (event.get("queryStringParameters") or {}).get("Authorization")
        return str(query if query is not None else original(event))


def _decode_with(patch: Patch, algorithms: list[str]) -> None:
    @patch.around("jwt:decode")
    def decode(original: Any, token: str, key: str, **options: Any) -> Any:
        return original(token, key, **{**options, "algorithms": algorithms})


@mutant("AUTH-2")
def any_asymmetric_algorithm(patch: Patch) -> None:
    """Any RS or PS algorithm passes, as the token asks for."""
    _decode_with(patch, ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])


@mutant("AUTH-2")
def public_key_as_secret(patch: Patch) -> None:
    """A token that is signed with HS256, keyed with the public key, passes."""

    @patch.around("jwt:decode")
    def decode(original: Any, token: str, key: str, **options: Any) -> Any:
        signed, _, signature = token.rpartition(".")
        digest = hmac.digest(key.encode(), signed.encode(), hashlib.sha256)
        if signature == base64.urlsafe_b64encode(digest).rstrip(b"=").decode():
            return _unverified(original, token)
        return original(token, key, **options)


@mutant("AUTH-2")
def unsigned_tokens(patch: Patch) -> None:
    """A token whose algorithm is `none`, however spelled, passes."""

    @patch.around("jwt:decode")
    def decode(original: Any, token: str, key: str, **options: Any) -> Any:
        if str(jwt.get_unverified_header(token).get("alg")).lower() == "none":
            return _unverified(original, token)
        return original(token, key, **options)


def _unverified(decode: Any, token: str) -> Any:
    return decode(token, options={"verify_signature": False})


@mutant("AUTH-2")
def key_from_the_token(patch: Patch) -> None:
    """The key that a token brings in its header is believed."""

    @patch.around(f"{AUTH}:_key")
    def key(original: Any, header: Any, keys: Any) -> Any:
        if isinstance(header.get("jwk"), dict):
            return jwt.PyJWK(header["jwk"]).key
        kept = {k: v for k, v in header.items() if k not in ("jwk", "jku", "x5u", "x5c")}
        return original(kept, keys)


@mutant("AUTH-2")
def unknown_key_id(patch: Patch) -> None:
    """A key id that is not configured selects the first key."""

    @patch.around(f"{AUTH}:_key")
    def key(_original: Any, header: Any, keys: Any) -> Any:
        return keys.get(header.get("kid"), next(iter(keys.values())))


def _claim_unread(patch: Patch, *names: str) -> None:
    """As if the tokens had not these claims."""

    @patch.around("jwt:decode")
    def decode(original: Any, *args: Any, **options: Any) -> Any:
        claims = original(*args, **options)
        return {name: value for name, value in claims.items() if name not in names}


@mutant("AUTH-3")
def token_without_exp(patch: Patch) -> None:
    """A token without `exp` passes, for ever."""

    @patch.around("jwt:decode")
    def decode(original: Any, *args: Any, **options: Any) -> Any:
        return {"exp": LAST_S, **original(*args, **options)}


@mutant("AUTH-3")
def expired_tokens(patch: Patch) -> None:
    """A token that has expired passes."""

    @patch.around("jwt:decode")
    def decode(original: Any, *args: Any, **options: Any) -> Any:
        claims = original(*args, **options)
        is_date = type(claims.get("exp")) in (int, float) and 1 < claims["exp"] < LAST_S
        return {**claims, "exp": LAST_S} if is_date else claims


@mutant("AUTH-3")
def not_before_unread(patch: Patch) -> None:
    """A token passes before its `nbf`."""
    _claim_unread(patch, "nbf")


@mutant("AUTH-3")
def issued_ahead(patch: Patch) -> None:
    """A token passes that says it was issued tomorrow."""
    _claim_unread(patch, "iat")


@mutant("AUTH-3")
def leeway_of_ten_minutes(patch: Patch) -> None:
    """Ten minutes of leeway in place of one."""
    patch.constant(f"{AUTH}:LEEWAY_S", 600)


@mutant("AUTH-3")
def issuer_unread(patch: Patch) -> None:
    """A configured issuer is not compared."""

    @patch.around(f"{AUTH}:verify")
    def verify(original: Any, token: str, rules: Any, now_s: float) -> Any:
        return original(token, dataclasses.replace(rules, issuer=None), now_s)


@mutant("AUTH-3")
def audience_unread(patch: Patch) -> None:
    """A configured audience is not compared."""

    @patch.around(f"{AUTH}:verify")
    def verify(original: Any, token: str, rules: Any, now_s: float) -> Any:
        return original(token, dataclasses.replace(rules, audience=None), now_s)


@mutant("AUTH-3")
def identity_of_any_type(patch: Patch) -> None:
    """`sub` and `tenant_id` may be anything, of any length."""

    @patch.around(f"{AUTH}:_text")
    def text(_original: Any, claims: Any, name: str) -> str:
        return str(claims.get(name, ""))


@mutant("AUTH-3")
def permissions_of_any_type(patch: Patch) -> None:
    """Permissions that are no list of texts count as none."""

    @patch.around("jwt:decode")
    def decode(original: Any, *args: Any, **options: Any) -> Any:
        claims = original(*args, **options)
        held = claims.get("permissions", [])
        good = isinstance(held, list) and all(isinstance(name, str) for name in held)
        return claims if good else {**claims, "permissions": []}


@mutant("AUTH-4")
def every_refusal_is_401(patch: Patch) -> None:
    """A tenant that is not allowed, and a store that fails, are answered 401 too."""

    @patch.around(CONNECT)
    async def connect(original: Any, *args: Any) -> Any:
        answer = await original(*args)
        return answer if answer["statusCode"] == 200 else {**answer, "statusCode": 401}


@mutant("AUTH-4", "CONN-1")
def opens_without_a_store(patch: Patch) -> None:
    """The handshake completes although the connection could not be stored."""

    @patch.around(CONNECT)
    async def connect(original: Any, *args: Any) -> Any:
        answer = await original(*args)
        return {"statusCode": 200} if answer["statusCode"] == 500 else answer


@mutant("AUTH-4")
def reason_is_sent(patch: Patch) -> None:
    """Why a token was refused is told to whoever brought it."""

    @patch.around(CONNECT)
    async def connect(original: Any, *args: Any) -> Any:
        answer = await original(*args)
        refused = answer["statusCode"] == 401
        return {**answer, "body": "the token has expired"} if refused else answer


def _identity_from(patch: Patch, seam: str, member: str) -> None:
    """Make jobs whose user and tenant are what a message says."""

    def claimed(**fields: Any) -> Job:
        source = fields[member]
        source = source.get("_metadata", source)
        claims = {name: source[name] for name in ("user_id", "tenant_id") if name in source}
        return Job(**{**fields, **claims})

    patch.value(seam, claimed)


@mutant("AUTH-5")
def identity_from_metadata(patch: Patch) -> None:
    """A long request runs as the user that its metadata names."""
    _identity_from(patch, "streamer_reference.worker:Job", "metadata")


@mutant("AUTH-5")
def identity_from_payload(patch: Patch) -> None:
    """A short request runs as the user that its payload's `_metadata` names."""
    _identity_from(patch, "streamer_reference.router:Job", "payload")


@mutant("AUTH-6")
def token_in_the_log(patch: Patch) -> None:
    """Who connects is logged with the token, as an access log does it."""

    @patch.around(CONNECT)
    async def connect(original: Any, event: Any, *args: Any) -> Any:
        sys.stderr.write(json.dumps({"query": event.get("queryStringParameters")}) + "\n")
        return await original(event, *args)


@mutant("AUTH-6")
def token_in_the_store(patch: Patch) -> None:
    """The token is stored with the connection."""

    @patch.around(CONNECT)
    async def connect(original: Any, event: Any, *args: Any) -> Any:
        query = event.get("queryStringParameters") or {}
        context = event["requestContext"]
        identity = {**context.get("identity", {}), "userAgent": str(query.get("Authorization"))}
        return await original({**event, "requestContext": {**context, "identity": identity}}, *args)


class _Everything(tuple[str, ...]):
    """Permissions that hold whatever is asked for."""

    __slots__ = ()

    def __contains__(self, _permission: object) -> bool:
        return True


@mutant("AUTH-7")
def permissions_unread(patch: Patch) -> None:
    """Permissions are stored and never asked for."""

    @patch.around("streamer_reference.router:_decide")
    def decide(original: Any, connection: Any, *args: Any) -> Any:
        return original(dataclasses.replace(connection, permissions=_Everything()), *args)


@mutant("AUTH-8")
def session_outlives_its_token(patch: Patch) -> None:
    """A session goes on after its token has expired."""

    @patch.around(f"{STORE}.get_connection")
    async def get_connection(original: Any, *args: Any) -> Any:
        found = await original(*args)
        return found and dataclasses.replace(found, token_expires_at_s=math.inf)


@mutant("AUTH-8")
def expired_session_stays_open(patch: Patch) -> None:
    """The connection of an expired token is refused everything and never closed."""

    @patch.around("streamer_reference.router:_end_session")
    async def end_session(_original: Any, *_args: Any) -> None:
        return


@mutant("AUTH-9")
def any_origin(patch: Patch) -> None:
    """The list of origins is configured and not read."""

    @patch.around(CONNECT)
    async def connect(original: Any, event: Any, *args: Any) -> Any:
        headers = {k: v for k, v in event["headers"].items() if k.lower() != "origin"}
        return await original({**event, "headers": headers}, *args)


@mutant("CONN-1")
def connection_without_its_source(patch: Patch) -> None:
    """Source address and user agent are not stored."""

    @patch.around(f"{STORE}.put_connection")
    async def put_connection(original: Any, store: Any, connection: Any) -> None:
        await original(store, dataclasses.replace(connection, source_ip="", user_agent=""))


@mutant("CONN-1")
def stored_after_the_handshake(patch: Patch) -> None:
    """The handshake completes while the connection is still being stored."""
    tasks = set()

    @patch.around(f"{STORE}.put_connection")
    async def put_connection(original: Any, *args: Any) -> None:
        tasks.add(asyncio.create_task(original(*args)))


@mutant("CONN-1")
def connection_lives_an_hour(patch: Patch) -> None:
    """A connection's time to live ends before the gateway's two hours."""
    patch.default("streamer_reference.settings:Settings", connection_ttl_s=3600)


@mutant("CONN-1")
def connection_lives_two_days(patch: Patch) -> None:
    """A connection's time to live is over after two days."""
    patch.default("streamer_reference.settings:Settings", connection_ttl_s=172_800)


@mutant("CONN-2")
def late_message_brings_it_back(patch: Patch) -> None:
    """A message that is counted after the disconnect stores its connection again."""
    removed: dict[str, Any] = {}

    @patch.around(f"{STORE}.delete_connection")
    async def delete_connection(original: Any, store: Any, connection_id: str) -> Any:
        if (found := await store.get_connection(connection_id)) is not None:
            removed[connection_id] = found
        return await original(store, connection_id)

    @patch.around(f"{STORE}.touch")
    async def touch(original: Any, store: Any, connection_id: str, *args: Any) -> None:
        if connection_id in removed and await store.get_connection(connection_id) is None:
            await store.put_connection(removed[connection_id])
        await original(store, connection_id, *args)


@mutant("CONN-2")
def subscriptions_stay(patch: Patch) -> None:
    """A disconnect leaves the connection's subscriptions behind."""

    @patch.around(f"{STORE}.delete_connection")
    async def delete_connection(_original: Any, store: Any, connection_id: str) -> bool:
        there = await store.get_connection(connection_id) is not None
        await execute(store, "DELETE FROM connections WHERE connection_id = ?", connection_id)
        return there


@mutant("CONN-2")
def second_disconnect_fails(patch: Patch) -> None:
    """A disconnect event that comes twice raises."""

    @patch.around(DISCONNECT)
    async def disconnect(original: Any, event: Any, services: Any, *args: Any) -> Any:
        if await services.store.get_connection(event["requestContext"]["connectionId"]) is None:
            raise WrongError("no such connection")
        return await original(event, services, *args)


@mutant("CONN-3")
def gone_removes_nothing(patch: Patch) -> None:
    """A send that answers 410 leaves the connection where it is."""

    @patch.around("streamer_reference.connection.manager:ConnectionManager.__init__")
    def init(original: Any, *args: Any, **options: Any) -> None:
        original(*args, **{**options, "on_gone": None})


@mutant("CONN-3")
def stale_connections_stay(patch: Patch) -> None:
    """The sweeper does not look for connections past their time to live."""

    @patch.around(f"{STORE}.stale_connections")
    async def stale_connections(_original: Any, *_args: Any) -> list[str]:
        return []


@mutant("CONN-4")
def disconnect_cancels(patch: Patch) -> None:
    """A disconnect cancels what runs for the connection."""

    @patch.around(f"{STORE}.delete_connection")
    async def delete_connection(original: Any, store: Any, connection_id: str) -> Any:
        await execute(
            store,
            "UPDATE requests SET status = 'CANCELLED', outcome = ?"
            " WHERE connection_id = ? AND outcome IS NULL",
            '{"error":{"code":"CANCELLED","message":"","details":{},"retry":{"retryable":false}}}',
            connection_id,
        )
        return await original(store, connection_id)


@mutant("CONN-5")
def opens_then_closes(patch: Patch) -> None:
    """A bad token opens a connection that is then closed."""

    @patch.around(CONNECT)
    async def connect(original: Any, event: Any, services: Any, *args: Any) -> Any:
        answer = await original(event, services, *args)
        if answer["statusCode"] != 200:
            await services.client.delete_connection(event["requestContext"]["connectionId"])
        return {"statusCode": 200}


@mutant("CONN-5")
def greets_unasked(patch: Patch) -> None:
    """A new connection is sent a greeting that nobody asked for."""

    @patch.around(CONNECT)
    async def connect(original: Any, event: Any, services: Any, *args: Any) -> Any:
        answer = await original(event, services, *args)
        connection_id = event["requestContext"]["connectionId"]
        await services.manager.send(connection_id, b'{"type":"welcome","timestamp":0}')
        return answer


@mutant("CONN-5")
def ends_the_older_session(patch: Patch) -> None:
    """A user's new connection removes the older ones."""

    @patch.around(f"{STORE}.put_connection")
    async def put_connection(original: Any, store: Any, connection: Any) -> None:
        for other in await store.connections_of(connection.tenant_id):
            await store.delete_connection(other)
        await original(store, connection)


@mutant("CONN-5")
def router_reads_late(patch: Patch) -> None:
    """The router does not see a connection in its first second."""

    @patch.around("streamer_reference.router:route")
    async def route(original: Any, connection_id: str, text: str, services: Any) -> None:
        found = await services.store.get_connection(connection_id)
        if found and services.clock.now_ms() - found.connected_at_ms < 1000:
            return
        await original(connection_id, text, services)
