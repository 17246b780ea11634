"""Places where attempts run. The driver alone knows the ledger; concrete executors know intents, handles and facts."""
