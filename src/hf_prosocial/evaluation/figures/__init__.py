"""From judged replies to figures with intervals: safety, refusals, rewards, text, differences, failure signatures."""
