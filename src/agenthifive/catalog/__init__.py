"""What is known of a service, as data: where its credential goes, how, and what a call there does."""
