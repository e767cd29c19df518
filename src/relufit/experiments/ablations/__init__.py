"""What else matters: label noise, other inputs, buckets and norms of the quantizer, the length of the step."""
