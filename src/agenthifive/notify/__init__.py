"""How people hear of things: mail today, channels later. Source: contract/notifications.md, http.md section 14.1."""
