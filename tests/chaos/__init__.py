"""Real pods while everything around them breaks: at most one start of each attempt, no two attempts of a task at once,
and every task comes to its end."""
