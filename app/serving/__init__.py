"""What gunicorn itself is given: worker classes."""
