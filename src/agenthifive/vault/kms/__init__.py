"""Key services: where a wrapped data key is unwrapped, once, at start. Never during a call."""
