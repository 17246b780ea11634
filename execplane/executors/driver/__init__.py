"""The driver: claims attempts within limits, commits intents, applies what executors report. The only part of the
executor plane with store access; one loop an executor, under that executor's lease."""
