"""What needs a person: failures, missed fires, schedules and mails, and what to do about each."""
