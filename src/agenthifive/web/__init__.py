"""What a browser sees: templates and static files."""
