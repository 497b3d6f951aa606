"""The command line: words in, words out.

Lives here: arguments, what the terminal shows, the commands, the API reference. Lives elsewhere: whatever is computed.
"""
