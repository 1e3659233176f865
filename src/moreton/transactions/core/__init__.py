"""Pure parts that several kinds of transactions share."""
