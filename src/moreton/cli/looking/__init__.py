"""Commands that only look: `status`, `routes`, `services`, `instances`, `explain`."""
