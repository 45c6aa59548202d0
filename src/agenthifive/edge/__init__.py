"""The edge: rules every request meets before a room sees it, and every answer meets before it leaves."""
