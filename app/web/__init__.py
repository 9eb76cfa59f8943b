"""What stands around every request: ids, observation, headers, problems, proxies."""
