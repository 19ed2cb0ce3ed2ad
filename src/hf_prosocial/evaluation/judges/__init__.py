"""Who says what a reply is: embedded heads, local models, and models behind HTTP endpoints."""
