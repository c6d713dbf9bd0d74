"""Files of the hub, of other web servers and of object stores: headers first, then only ranges.

Names, revisions, hashes, tokens and the cache are huggingface_hub's; bytes come by obstore, which
goes on where a body was cut, tries again, and tells no other host a token.
"""
