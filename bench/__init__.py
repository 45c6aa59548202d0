"""Measures this machine: `python -m bench` (speed, memory), `python -m bench.kill` (no record lost).

    nginx (stand-in provider) <- AgentHiFive <- wrk      the product, as its operators start it
    nginx (stand-in provider) <- nginx       <- wrk      the baseline: a proxy without policy, audit and vault

Everything runs on loopback, in a temporary home with a database of its own, and is removed afterwards. The programs
talk to the server over HTTP like anybody else.
"""
