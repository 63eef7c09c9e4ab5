"""The work of the subcommands of ``velocity-asr``, one module each; ``velocity.cli`` declares their options."""
