"""Networks in OpenVINO, on the CPU: whole pictures at once."""
