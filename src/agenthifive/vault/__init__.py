"""All cryptography on stored data: the only room that imports the `cryptography` primitives."""
