"""The router: picks the variant and the instance for every query, and knows nothing that it could not read again."""
