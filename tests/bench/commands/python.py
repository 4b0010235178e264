"""Ordinary Python work, ROUNDS times; prints a line per round."""
import collections
import heapq
import json
import re
import sys


class Task:
    """A member of a small operating system: tasks that wake each other by messages."""

    def __init__(self, name, priority):
        self.name, self.priority = name, priority
        self.queue, self.done, self.state = collections.deque(), 0, 1

    def step(self, system):
        if self.queue:
            message = self.queue.popleft()
            self.done += message[1]
            self.state = (self.state * 31 + message[1]) & 0xFFFF
            system.send(self.state % len(system.tasks), message[1] + 1)
        elif self.state & 1:
            self.state >>= 1
        else:
            self.state = (self.state >> 1) ^ 0xD008


class System:
    def __init__(self, count):
        self.tasks = [Task("task%d" % i, i % 5) for i in range(count)]
        self.order, self.sent = [], 0

    def send(self, target, value):
        task = self.tasks[target]
        task.queue.append((self.sent, value % 97))
        self.sent += 1
        heapq.heappush(self.order, (task.priority, self.sent, target))

    def run(self, steps):
        self.send(0, 1)
        for _ in range(steps):
            if self.order:
                self.tasks[heapq.heappop(self.order)[2]].step(self)
            else:
                self.send(self.sent % len(self.tasks), 3)
        return sum(task.done for task in self.tasks)


def texts(seed):
    words = ["w%x" % (i * seed % 1009) for i in range(1200)]
    text = " ".join(words)
    counts = collections.Counter(re.findall(r"w([0-9a-f]+)", text))
    text = text.replace("w1", "one").upper().title()
    return len(text) + sum(ord(c) for c in text[::17]) + counts.most_common(1)[0][1]


def documents(seed):
    rows = [{"id": i, "name": "row %d" % i, "value": i * seed / 7, "tags": ["a", "b", str(i)]}
            for i in range(120)]
    copy = json.loads(json.dumps({"rows": rows, "seed": seed}))
    copy["rows"].sort(key=lambda row: (-row["id"] % 7, row["name"]))
    return json.dumps(copy["rows"][:3])


def primes(limit):
    sieve = bytearray([1]) * limit
    for i in range(2, int(limit ** 0.5) + 1):
        if sieve[i]:
            sieve[i * i::i] = bytes(len(range(i * i, limit, i)))
    return [i for i in range(2, limit) if sieve[i]][-1]


def queens(n, row=0, columns=0, left=0, right=0):
    if row == n:
        return 1
    count, free = 0, ((1 << n) - 1) & ~(columns | left | right)
    while free:
        bit = free & -free
        free ^= bit
        count += queens(n, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return count


for number in range(1, int(sys.argv[1]) + 1):
    print(number, System(20).run(1500), texts(number), documents(number), primes(4000 + number),
          queens(6), pow(number + 3, 10 ** 40, 10 ** 31 + 57))
