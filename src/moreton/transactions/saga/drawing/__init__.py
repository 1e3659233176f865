"""Sagas as pictures: before they ran, and what happened when they did."""
