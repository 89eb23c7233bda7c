"""One module per command or family; each exposes `<name>_command`. Heavy imports happen inside the commands."""
