"""When DAGs run and what of a run happens next: pure cores (`decide`, `timetables`) and the loop around them."""
