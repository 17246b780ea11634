"""The real servers that tests run against, started by the tests themselves. See README.md beside this file."""
