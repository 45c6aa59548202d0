"""The room of policies: stored, served, explained. What they mean is decided in `agenthifive.policy`.

api.py -> bodies.py (what was sent) -> service.py -> tiers.py (presets), changes.py (audit) -> store.py
       -> explain.py (one call, judged the way the broker judges it)
       -> templates.py (what presets offer)
"""
