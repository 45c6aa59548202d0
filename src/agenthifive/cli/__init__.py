"""The command line: one file for each group of commands, human words or one JSON object."""
