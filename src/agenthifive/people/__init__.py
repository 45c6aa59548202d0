"""People: accounts, sessions, personal access tokens, and the set-up of a fresh instance."""
