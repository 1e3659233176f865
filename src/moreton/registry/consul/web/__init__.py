"""Requests and answers: who is let in, where they go, how an answer is waited for."""
