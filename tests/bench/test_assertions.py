"""Assertions of the bench are what the server accepts: judged here by the server's own reader."""

import json
import time
from pathlib import Path

from bench.assertions import LIFETIME_S, AgentKey, token_request, write_token_requests

from agenthifive.agents.assertion import accepted_audiences, parse_assertion, verify_assertion
from agenthifive.agents.public_key import read_public_key

AGENT_ID = "7d1f6f53-1f4c-4f0d-8a8e-6a3b2c1d0e9f"
BASE = "http://127.0.0.1:4000"


def test_the_server_accepts_an_assertion_signed_here() -> None:
    key = AgentKey.generate()
    body = token_request(key, AGENT_ID, BASE)
    public = read_public_key(key.public_jwk())
    assertion = parse_assertion(body["client_assertion"])
    audiences = accepted_audiences(BASE, None, (), development=False)
    claims = verify_assertion(assertion, public, audiences=audiences, max_lifetime_s=LIFETIME_S, now_s=time.time())
    assert claims.agent_id == AGENT_ID


def test_every_prepared_request_has_an_assertion_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_token_requests(path, 20, AgentKey.generate(), AGENT_ID, BASE)
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({parse_assertion(body["client_assertion"]).claims["jti"] for body in bodies}) == 20
