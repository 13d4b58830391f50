"""A child process that is none: it says what it is made to say, and ends when it is told to."""


class SilentChild:
    """What a supervisor sees of a child."""

    pid, resident_bytes = 1, 0

    def __init__(self):
        self.said, self.told, self.ended, self.killed = [], [], None, False

    def heard(self):
        said, self.said = self.said, []
        return said

    def tell(self, message):
        self.told.append(message)

    def status(self):
        return self.ended

    def kill(self):
        self.killed = True

    def reap(self):
        pass
