"""Runs one attempt, in a pod or under the local executor's zygote. No Django, no database, no pydantic.

A supervisor (`run`) claims the attempt, forks a child (`child`) that runs the author's code, reads its output, sends
heartbeats and log lines, and reports the end. So whatever the author's code does to its own process (a segmentation
fault, `os._exit`, an OOM kill, a hang with the GIL held), its last lines arrive and the end is told as it was.
"""
