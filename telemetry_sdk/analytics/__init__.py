"""What an event may carry once the user agreed: names, values, who and what it is about."""
