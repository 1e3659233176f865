"""What is to be said of differences at known places, and what is never to be kept."""
