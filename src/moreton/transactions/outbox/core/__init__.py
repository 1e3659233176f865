"""What outbox and inbox decide, without a database, a broker or a clock."""
