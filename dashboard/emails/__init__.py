"""Mail: messages, deliveries and the SMTP conversation."""
