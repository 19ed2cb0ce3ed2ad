"""What plugs into other tools, each an optional extra."""
