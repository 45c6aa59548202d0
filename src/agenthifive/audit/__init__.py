"""The tamper-evident log: what was asked, what happened, and proof that nobody changed it since."""
