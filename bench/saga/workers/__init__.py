"""The processes of the contenders."""
