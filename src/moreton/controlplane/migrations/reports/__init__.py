"""What is written down of migrations for those who were not there, and how it is told."""
