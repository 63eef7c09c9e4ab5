"""What the subcommands of ``velocity-asr`` do, one module each; ``velocity.cli`` declares their options."""
