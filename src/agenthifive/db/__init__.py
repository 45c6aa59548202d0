"""The database: pools, the unit of work, migrations, roles and the embedded server."""
