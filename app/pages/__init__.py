"""What a person sees in a browser: the faults and their stories, made of what the parts know.

No kind, blueprint or function is known by name here: a new kind has its pages by what it tells.
"""
