"""Settings: from an environment and back, with the contract's defaults."""

from __future__ import annotations

import time

import pytest

from streamer_reference.clock import SystemClock
from streamer_reference.core.rate import RateLimit
from streamer_reference.settings import Settings, SettingsError

LEAST = {"store": "s", "management_url": "u", "region": "r", "token_keys": "{}"}


def test_settings_survive_the_environment():
    """What one process writes another reads, types and all."""
    settings = Settings(**LEAST, probe=True, short_limit_s=2.5, slots=7, tenants='["t"]')
    assert Settings.from_environment(settings.to_environment() | {"PATH": "x"}) == settings


def test_the_defaults_are_the_contracts():
    """Section 5's table."""
    least = {f"STREAMER_{name.upper()}": value for name, value in LEAST.items()}
    settings = Settings.from_environment(least)
    assert settings.rate_limit == RateLimit(100, 100)
    assert (settings.lease_s, settings.renewal_s, settings.deaths_max) == (5.0, 1.5, 5)
    assert (settings.in_flight, settings.slots, settings.short_limit_s) == (100, 250, 25.0)
    assert (settings.result_url_s, settings.retention_s) == (900, 604_800)
    assert 7200 < settings.connection_ttl_s <= 86_400
    assert settings.probe is False


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("STREAMER_STORE", None, "STREAMER_STORE is not set"),
        ("STREAMER_SLOTS", "many", "STREAMER_SLOTS is no int"),
        ("STREAMER_LEASE_S", "", "STREAMER_LEASE_S is no float"),
        ("STREAMER_PROBE", "yes", "STREAMER_PROBE is no bool"),
    ],
)
def test_a_bad_environment_names_the_variable(name, value, message):
    """An operator sees which one."""
    environment = Settings(**LEAST).to_environment() | {name: value}
    if value is None:
        del environment[name]
    with pytest.raises(SettingsError, match=message):
        Settings.from_environment(environment)


def test_token_rules_read_the_keys(tmp_path):
    """Each key's file; empty texts are no rule."""
    path = tmp_path / "key.pem"
    path.write_text("PEM", encoding="ascii")
    keys = f'{{"k": "{path}"}}'
    rules = Settings(**{**LEAST, "token_keys": keys}).token_rules()
    assert (rules.keys, rules.issuer, rules.audience) == ({"k": "PEM"}, None, None)
    strict = {"token_keys": keys, "token_issuer": "i", "token_audience": "a"}
    rules = Settings(**{**LEAST, **strict}).token_rules()
    assert (rules.issuer, rules.audience) == ("i", "a")
    path.write_bytes(b"\xff")
    for bad in (keys, "{", "[]", '{"k": "/nowhere/key.pem"}', '{"k": 1.5}'):
        with pytest.raises(SettingsError, match="token keys"):
            Settings(**{**LEAST, "token_keys": bad}).token_rules()


def test_the_system_clock_is_in_milliseconds():
    """Between two readings of the machine's own."""
    before = time.time()
    now_ms = SystemClock().now_ms()
    assert before * 1000 - 1 <= now_ms <= time.time() * 1000 + 1
